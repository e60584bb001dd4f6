//! Templates for suites that build slots by the library.

use repoint::{
    netlink::RouteOptions,
    template::{AddressSource, Operation, RouteTarget, RouteVia, Template, VERSION},
};

/// What an ordinary network's slots are built from: both families, routes to everywhere.
#[must_use]
pub fn ordinary() -> Template {
    let route =
        |to| Operation::AddRoute { to, via: RouteVia::Gateway, options: RouteOptions::default() };
    let everywhere = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|text| text.parse().ok());
    let mut operations = vec![
        Operation::CreateLink { mtu: None },
        Operation::AssignAddress { from: AddressSource::Ipam },
        Operation::AddGateway,
        route(RouteTarget::OwnSubnets),
    ];
    operations.extend(everywhere.map(|prefix| route(RouteTarget::Prefix(prefix))));
    operations.push(Operation::AttachPrograms);
    Template { version: VERSION, origin: "test".to_owned(), operations }
}
