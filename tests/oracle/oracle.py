#!/usr/bin/env python3
"""Answers which flows NetworkPolicy objects allow, by network-config-analyzer 2.1.0.

Standard input has one case a line, in JSON:

    {"id": 0,
     "namespaces": [{"name", "labels"}],
     "pods": [{"namespace", "name", "labels", "ports": [{"name", "port", "protocol"}]}],
     "policies": [NetworkPolicy objects],
     "queries": [{"from", "to", "protocol", "port"}]}

An end of a query is NAMESPACE/NAME of a pod, or an address. Standard output has one answer a
line: {"id", "allowed": [true or false for each query]}, or {"id", "error"}.

Each answer is the analyzer's own: its finders and parsers read the case, NetworkConfig computes
the allowed connections, and ConnectivityProperties compares the query with them.

Option --fix-selectors repairs two faults of the analyzer, see fix_selectors.

Where the analyzer differs from Kubernetes, cases must leave out: flows from a pod to itself or
from an address to an address; policyTypes in the order Egress, Ingress; rules of a direction that
policyTypes does not list; policies without policyTypes whose list of egress rules is empty;
policies without spec or podSelector; two ports of one name in a pod; objects that the API server
refuses.
"""

import contextlib
import io
import ipaddress
import json
import sys

from nca.CoreDS.ConnectivityProperties import ConnectivityProperties
from nca.CoreDS.Peer import BasePeerSet, IpBlock, PeerSet
from nca.CoreDS.PortSet import PortSet
from nca.CoreDS.ProtocolSet import ProtocolSet
from nca.NetworkConfig.NetworkConfig import NetworkConfig
from nca.NetworkConfig.PeerContainer import PeerContainer
from nca.NetworkConfig.PoliciesFinder import PoliciesFinder
from nca.NetworkConfig.TopologyObjectsFinder import NamespacesFinder, PodsFinder
from nca.Parsers.GenericYamlParser import GenericYamlParser
from nca.Resources.PolicyResources.NetworkPolicy import PolicyConnectionsFilter
from nca.Utils.NcaLogger import NcaLogger

FIX_SELECTORS = "--fix-selectors"


def fix_selectors():
    """Repairs two faults in the choice of pods by labels.

    1. Beside a namespaceSelector, Exists and DoesNotExist of a podSelector choose only among the
       pods of the policy's own namespace.
    2. In a namespaceSelector, In and NotIn take a missing label for one with the value "".
    """
    pods_with_key = PeerContainer.get_peers_with_key

    def in_all_namespaces(self, _namespace, key, is_absent):
        return pods_with_key(self, None, key, is_absent)

    pods_with_label = PeerContainer.get_namespace_pods_with_label
    action_type = GenericYamlParser.FilterActionType

    def missing_is_not_empty(self, key, values, action=action_type.In):
        pods = pods_with_label(self, key, values, action)
        if "" in values and action == action_type.In:
            return pods & self.get_namespace_pods_with_key(key, False)
        if "" in values and action == action_type.NotIn:
            return pods | self.get_namespace_pods_with_key(key, True)
        return pods

    PeerContainer.get_peers_with_key = in_all_namespaces
    PeerContainer.get_namespace_pods_with_label = missing_is_not_empty


def metadata(item, **others):
    """Metadata of a namespace or pod."""
    return {"name": item["name"], "labels": item.get("labels") or {}, **others}


def namespace_object(namespace):
    """A namespace of a case, as Kubernetes has it."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(namespace)}


def pod_object(pod):
    """A pod of a case, as Kubernetes has it."""
    ports = [
        {"name": port["name"], "containerPort": port["port"], "protocol": port["protocol"]}
        for port in pod.get("ports") or []
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(pod, namespace=pod["namespace"]),
        "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]},
    }


class Case:
    """The allowed connections of one case."""

    def __init__(self, case):
        # The analyzer numbers peers by name in a singleton, which must not outlive a case.
        BasePeerSet.reset()
        container = self._read_topology(case)
        finder = PoliciesFinder()
        finder.set_peer_container(container)
        for policy in case["policies"]:
            finder.parse_yaml_code_for_policy(policy, "case")
        finder.parse_policies_in_parse_queue()
        check_count("policies", finder.policies_container.policies, case["policies"])
        config = NetworkConfig("case", container, finder)
        allowed = config.allowed_connections(
            res_conns_filter=PolicyConnectionsFilter.only_all_allowed_connections()
        )
        self.connections = config.filter_conns_by_peer_types(allowed.all_allowed_conns)

    def _read_topology(self, case):
        namespaces, pods = NamespacesFinder(), PodsFinder()
        for namespace in case["namespaces"]:
            namespaces.parse_yaml_code_for_ns(namespace_object(namespace))
        pods.namespaces_finder = namespaces
        for pod in case["pods"]:
            pods.add_eps_from_yaml(pod_object(pod))
        check_count("pods", pods.peer_set, case["pods"])
        self.peers = {pod.full_name(): pod for pod in pods.peer_set}
        return PeerContainer(
            pods.peer_set, namespaces.namespaces, [], pods.representative_peers, PeerSet()
        )

    def _peer(self, name):
        if name not in self.peers:
            if "/" in name:
                raise ValueError("no such pod: " + name)
            self.peers[name] = IpBlock(str(ipaddress.ip_network(name)))
        return self.peers[name]

    def allows(self, query):
        """Whether all of the query's connections are allowed."""
        ports = PortSet()
        ports.add_port(query["port"])
        protocol = ProtocolSet.get_protocol_set_with_single_protocol(query["protocol"])
        connections = ConnectivityProperties.make_conn_props_from_dict(
            {
                "src_peers": PeerSet({self._peer(query["from"])}),
                "dst_peers": PeerSet({self._peer(query["to"])}),
                "protocols": protocol,
                "dst_ports": ports,
            }
        )
        if not connections:
            raise ValueError(f"the query has no connections: {query!r}")
        return connections.contained_in(self.connections)


def check_count(what, kept, given):
    """Fails where the analyzer left out a part of the case."""
    if len(kept) != len(given):
        raise ValueError(f"{len(kept)} of {len(given)} {what} were read")


def answer(case):
    """The answer for a case, or why there is none."""
    try:
        # Some warnings go to standard output.
        with contextlib.redirect_stdout(io.StringIO()):
            NcaLogger().dont_collect_msgs()
            connections = Case(case)
            allowed = [connections.allows(query) for query in case["queries"]]
        return {"id": case["id"], "allowed": allowed}
    # The analyzer refuses policies by SyntaxError, and fails in many other ways.
    except Exception as error:  # pylint: disable=broad-exception-caught
        message = error.msg if isinstance(error, SyntaxError) else error
        return {"id": case["id"], "error": f"{type(error).__name__}: {message}"}


def main():
    """Answers each line."""
    if FIX_SELECTORS in sys.argv[1:]:
        fix_selectors()
    NcaLogger().unmute()
    for line in sys.stdin:
        if line.strip():
            print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
