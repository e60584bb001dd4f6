//! The one nftables rule: masquerade what leaves the node from interfaces of one group.

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook,
        InetHookNumber, ListAttribute, Meta, MetaKey, NfTablesMessage, Operator, Register,
        RuleAttribute, RuleMessage, TableAttribute, TableMessage,
    },
    none::ControlMessage,
};

use super::{NetfilterSocket, NetlinkError, Request};

/// Our table, of family inet.
const TABLE: &str = "repoint";
/// Its chain. Not `masquerade`: nft takes that for the statement.
const CHAIN: &str = "postrouting";
/// `NF_IP_PRI_NAT_SRC`: where source translation happens.
const PRIORITY: u32 = 100;
/// `NFNL_SUBSYS_NFTABLES`: which subsystem a batch is for, in network byte order.
const SUBSYSTEM: u16 = 10_u16.to_be();

type Expression = ListAttribute<ExpressionAttribute>;

/// Whether the masquerade rule exists in the socket's namespace: our chain holds no other.
pub fn masquerades(socket: &mut NetfilterSocket) -> Result<bool, NetlinkError> {
    let attributes =
        vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(CHAIN.to_owned())];
    let rules = inet(NfTablesMessage::GetRule(RuleMessage { attributes }));
    match socket.dump("find the masquerade rule", &rules) {
        Ok(rules) => Ok(!rules.is_empty()),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Masquerades what comes from an interface of group `from` and leaves by one of no group of
/// `inside`, in one transaction.
pub fn add_masquerade(
    socket: &mut NetfilterSocket,
    from: u32,
    inside: &[u32],
) -> Result<(), NetlinkError> {
    let table = TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
    let chain = ChainMessage {
        attributes: vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(CHAIN.to_owned()),
            ChainAttribute::Type("nat".to_owned()),
            ChainAttribute::Hook(vec![
                Hook::Number(InetHookNumber::PostRouting.into()),
                Hook::Priority(PRIORITY),
            ]),
        ],
    };
    let rule = RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(CHAIN.to_owned()),
            RuleAttribute::Expressions(expressions(from, inside)),
        ],
    };
    transact(
        socket,
        [
            ("create nftables table repoint", NfTablesMessage::NewTable(table), NLM_F_CREATE),
            ("create the masquerade chain", NfTablesMessage::NewChain(chain), NLM_F_CREATE),
            (
                "add the masquerade rule",
                NfTablesMessage::NewRule(rule),
                NLM_F_CREATE | NLM_F_APPEND,
            ),
        ],
    )
}

/// Removes our table with all that is in it. A missing table is not an error.
pub fn remove_masquerade(socket: &mut NetfilterSocket) -> Result<(), NetlinkError> {
    let table = TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
    let request = ("delete nftables table repoint", NfTablesMessage::DeleteTable(table), 0);
    match transact(socket, [request]) {
        Err(error) if error.is_absent() => Ok(()),
        other => other,
    }
}

fn transact<const N: usize>(
    socket: &mut NetfilterSocket,
    requests: [(&'static str, NfTablesMessage, u16); N],
) -> Result<(), NetlinkError> {
    let frame = |message| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
        let message = NetfilterMessage::new(header, message);
        Request::new("frame a transaction", message, 0).unanswered()
    };
    let mut batch = vec![frame(ControlMessage::BatchBegin)];
    batch.extend(
        requests.into_iter().map(|(what, message, flags)| Request::new(what, inet(message), flags)),
    );
    batch.push(frame(ControlMessage::BatchEnd));
    socket.execute(batch)
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

/// `meta iifgroup FROM meta oifgroup != INSIDE… masquerade`.
fn expressions(from: u32, inside: &[u32]) -> Vec<Expression> {
    let mut list = vec![load(MetaKey::Iifgroup), compare(Operator::Equal, from)];
    list.push(load(MetaKey::Oifgroup));
    list.extend(inside.iter().map(|group| compare(Operator::NotEqual, *group)));
    let masquerade = Expressions::Other {
        expression_type: "masq".to_owned(),
        attributes: Vec::<DefaultNla>::new(),
    };
    list.push(masquerade.into());
    list
}

fn load(key: MetaKey) -> Expression {
    Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)]).into()
}

/// Compares with the register; groups are in host byte order there.
fn compare(operator: Operator, value: u32) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value.to_ne_bytes().to_vec())),
    ])
    .into()
}
