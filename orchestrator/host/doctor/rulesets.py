"""Which firewall of the host drops what no rule of it accepts, by its rule set, and the line that lets it pass. Pure.

Packets are dropped by any one chain of a hook, whatever others accept; so a chain counts as closed when its policy
drops, or when its rules end in a drop or a reject, also in a chain that it jumps to without a condition.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]
_OURS: Final = (("inet", "vmrole"), ("bridge", "vmrole"))
_FAMILIES: Final = ("ip", "inet")  # of which the hooks see IPv4
_SILENT: Final = frozenset({"counter", "log", "comment"})  # statements that neither match nor decide
_REFUSALS: Final = ("drop", "reject")
_ENDS: Final = ("accept", "return", "queue")


@dataclasses.dataclass(frozen=True, slots=True)
class Closed:
    """A chain that lets nothing pass by default: where it hooks in, and its name with what it does."""

    hook: str
    name: str

    @property
    def of_ufw(self) -> bool:
        """Whether it is ufw's: it names its chains after itself."""
        return "ufw" in self.name

    @property
    def of_firewalld(self) -> bool:
        """Whether it is firewalld's."""
        return "firewalld" in self.name


def closed(nft: Sequence[Json]) -> list[Closed]:
    """The closed chains of the hooks `input` and `forward` in what `nft -j list ruleset` shows."""
    chains = [item["chain"] for item in nft if "chain" in item]
    rules: dict[tuple[str, str, str], list[Json]] = {}
    for item in nft:
        if "rule" in item:
            rule = item["rule"]
            rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
    found = []
    for chain in chains:
        table = (chain["family"], chain["table"])
        if table in _OURS or chain["family"] not in _FAMILIES or chain.get("hook") not in ("input", "forward"):
            continue
        ufw = any(one["table"] == chain["table"] and one["name"].startswith("ufw-") for one in chains)
        name = f"nft chain {' '.join(table)} {chain['name']}{' (of ufw)' * ufw}"
        verdict = _verdict(rules, (*table, chain["name"]), frozenset())
        if verdict in _REFUSALS:
            found.append(Closed(chain["hook"], f"{name}, which ends in {verdict}"))
        elif verdict == "" and chain.get("policy") == "drop":
            found.append(Closed(chain["hook"], f"{name}, whose policy is drop"))
    return found


def _verdict(
    rules: Mapping[tuple[str, str, str], Sequence[Json]], chain: tuple[str, str, str], above: frozenset[str]
) -> str:
    """What happens in the chain to a packet that no condition is true of; "" when it comes to the end."""
    if chain[2] in above:
        return ""
    for rule in rules.get(chain, ()):
        statements = [(kind, value) for one in rule.get("expr", ()) for kind, value in one.items()]
        deciding = [(kind, value) for kind, value in statements if kind not in _SILENT]
        if len(deciding) != 1:
            continue  # A condition, or nothing but counting.
        ((kind, value),) = deciding
        if kind in _REFUSALS:
            return str(kind)
        if kind in _ENDS:
            return "" if kind == "return" else str(kind)
        if kind in ("jump", "goto"):
            inner = _verdict(rules, (chain[0], chain[1], value["target"]), above | {chain[2]})
            if inner or kind == "goto":
                return inner
    return ""


def closed_legacy(listed: Iterable[str]) -> list[Closed]:
    """The same of what `iptables-legacy -S` shows of the table `filter`."""
    rules: dict[tuple[str, str, str], list[Json]] = {}
    policies: dict[str, str] = {}
    names = set()
    for line in listed:
        words = line.split()
        match words:
            case ["-P", chain, policy]:
                policies[chain] = policy.lower()
            case ["-N", chain]:
                names.add(chain)
            case ["-A", chain, "-j" | "-g" as how, target, *_]:
                rules.setdefault(("ip", "filter", chain), []).append({"expr": [_statement(how, target)]})
            case _:
                continue  # A rule with a condition.
    ufw = " (of ufw)" * any(name.startswith("ufw-") for name in names)
    found = []
    for chain, hook in (("INPUT", "input"), ("FORWARD", "forward")):
        verdict = _verdict(rules, ("ip", "filter", chain), frozenset())
        if verdict in _REFUSALS:
            found.append(Closed(hook, f"iptables-legacy chain {chain}{ufw}, which ends in {verdict}"))
        elif verdict == "" and policies.get(chain) == "drop":
            found.append(Closed(hook, f"iptables-legacy chain {chain}{ufw}, whose policy is drop"))
    return found


def _statement(how: str, target: str) -> Json:
    if target in ("DROP", "REJECT", "ACCEPT", "RETURN"):
        return {target.lower(): None}
    return {"jump" if how == "-j" else "goto": {"target": target}}


def remedy(chains: Sequence[Closed], pool: str, vip_interface: str) -> str:
    """What to type so that guests of `pool` get addresses, names and a way out, and VIPs are reached."""
    lines = []
    if any(chain.of_ufw for chain in chains):
        lines.append(
            "ufw allow in proto udp from any port 68 to any port 67 && "
            f"ufw allow in from {pool} to any port 53 && ufw route allow from {pool} && "
            f"ufw allow in on {vip_interface or 'INTERFACE'} proto tcp to any port 80,443"
        )
    if any(chain.of_firewalld for chain in chains):
        lines.append(
            f"firewall-cmd --permanent --zone=trusted --add-source={pool} && "
            "firewall-cmd --permanent --add-service=dhcp --add-service=http --add-service=https && "
            "firewall-cmd --reload"
        )
    if any(not (chain.of_ufw or chain.of_firewalld) for chain in chains) or not chains:
        lines.append(
            f"accept there: UDP to port 67 and port 53 from vrb-*, what comes from and goes to vrb-* (or {pool}), "
            "and the ports of your endpoints"
        )
    return "; ".join(lines)
