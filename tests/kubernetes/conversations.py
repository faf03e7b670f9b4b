# SPDX-License-Identifier: Apache-2.0
"""Who may talk to whom under NetworkPolicies, worked out as a cluster's network does it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from api import Manifest

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """A kind of pod, as policies see it; one that has no pods that they could select has an address."""

    name: str
    namespace: str
    labels: Mapping[str, str] | None = None
    address: str = ""


def matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects these labels."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        match rule["operator"]:
            case "In":
                holds = labels.get(rule["key"]) in rule["values"]
            case "Exists":
                holds = rule["key"] in labels
            case operator:
                raise NotImplementedError(operator)
        if not holds:
            return False
    return True


def selectors(policy: Manifest) -> Iterator[Manifest]:
    """All that a policy selects pods by."""
    yield policy["spec"]["podSelector"]
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"].get(direction, []):
            yield from (peer["podSelector"] for peer in rule[side] if "podSelector" in peer)


def conversations(policies: Iterable[Manifest], peers: Iterable[Peer]) -> set[tuple[str, str, int]]:
    """(from, to, port) for all that is allowed of what any policy names."""
    policies, peers = list(policies), list(peers)
    ports = {
        port["port"]
        for policy in policies
        for direction in ("ingress", "egress")
        for rule in policy["spec"].get(direction, [])
        for port in rule["ports"]
    }
    return {
        (source.name, target.name, port)
        for source in peers
        for target in peers
        for port in ports
        if _allowed(policies, "Egress", source, target, port) and _allowed(policies, "Ingress", target, source, port)
    }


def _allowed(policies: list[Manifest], direction: str, pod: Peer, other: Peer, port: int) -> bool:
    applying = [policy for policy in policies if _applies(policy, direction, pod)]
    side = {"Ingress": "from", "Egress": "to"}[direction]
    rules = [(policy, rule) for policy in applying for rule in policy["spec"].get(direction.lower(), [])]
    return not applying or any(
        port in [item["port"] for item in rule["ports"]] and any(_is(peer, other, policy) for peer in rule[side])
        for policy, rule in rules
    )


def _applies(policy: Manifest, direction: str, pod: Peer) -> bool:
    return (
        pod.labels is not None
        and policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], pod.labels)
    )


def _is(peer: Manifest, other: Peer, policy: Manifest) -> bool:
    if "ipBlock" in peer:
        # Pods' addresses too: what it is there for has no pods.
        return bool(other.address) and _is_in(other.address, peer["ipBlock"])
    if other.labels is None or not matches(peer.get("podSelector", {}), other.labels):
        return False
    if "namespaceSelector" in peer:
        return matches(peer["namespaceSelector"], {NAMESPACE_LABEL: other.namespace})
    return other.namespace == str(policy["metadata"]["namespace"])


def _is_in(address: str, block: Manifest) -> bool:
    excepted = any(ip_address(address) in ip_network(cidr) for cidr in block.get("except", ()))
    return ip_address(address) in ip_network(block["cidr"]) and not excepted
