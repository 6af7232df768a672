"""What came of it, as documents for programs; their shape is written down in `docs/till-api.md`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from xml.etree import ElementTree as ET

from agent.errors import LoyaltyAgentError
from agent.workbench.conformance.case import Case

FORMAT: Final = 1
Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one case; what was expected and came instead where it failed, why where it was skipped."""

    group: str
    case: str
    title: str
    rule: str
    outcome: Outcome
    elapsed_ms: int = 0
    expected: str | None = None
    got: str | None = None
    why: str | None = None

    @classmethod
    def of(cls, case: Case, outcome: Outcome, **more: Any) -> Finding:
        """What came of this case."""
        return cls(case.group, case.name, case.title, case.rule, outcome, **more)


@dataclass(frozen=True, slots=True)
class DoorResult:
    """What came of one door.

    Attributes:
        door: its address.
        level: the fallback level that it was tested at; None where it was not.
        findings: case by case.
        problem: why it could not be tested.
        left: sales of this run that the agent has not delivered.
        broken_off: somebody pressed Ctrl-C.
    """

    door: str
    level: int | None = None
    findings: Sequence[Finding] = ()
    problem: LoyaltyAgentError | None = None
    left: int = 0
    broken_off: bool = False

    @property
    def outcome(self) -> str:
        """``passed``, ``failed``, or ``untested``: it cannot be tested, was broken off, or nothing could be tried."""
        outcomes = {one.outcome for one in self.findings}
        if "failed" in outcomes:
            return "failed"
        return "untested" if self.broken_off or self.problem or "passed" not in outcomes else "passed"

    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        counts = Counter(one.outcome for one in self.findings)
        problem = self.problem
        return {
            "door": self.door,
            "outcome": self.outcome,
            "level": self.level,
            "counts": {outcome: counts[outcome] for outcome in ("passed", "failed", "skipped")},
            "left": self.left,
            "broken_off": self.broken_off,
            "problem": problem and {"code": problem.code, "message": str(problem), "advice": problem.advice},
            "cases": [asdict(one) for one in self.findings],
        }


def document(version: str, began_at: str, doors: Sequence[DoorResult]) -> dict[str, Any]:
    """The result of a run."""
    return {
        "format": FORMAT,
        "version": version,
        "began_at": began_at,
        "ok": bool(doors) and all(one.outcome == "passed" for one in doors),
        "doors": [one.document() for one in doors],
    }


def junit(told: Mapping[str, Any]) -> bytes:
    """The same in the XML that build servers read: a suite for each door, with a problem as its one error."""
    root = ET.Element("testsuites", name="loyalty-agent conformance")
    for door in told["doors"]:
        suite = ET.SubElement(root, "testsuite", name=door["door"], timestamp=told["began_at"])
        for case in door["cases"]:
            place = f"{door['door']}.{case['group']}"
            seconds = f"{case['elapsed_ms'] / 1000:.3f}"
            one = ET.SubElement(suite, "testcase", classname=place, name=case["case"], time=seconds)
            if case["outcome"] == "failed":
                text = f"expected {case['expected']}; got {case['got']}"
                ET.SubElement(one, "failure", message=text).text = case["rule"]
            elif case["outcome"] == "skipped":
                ET.SubElement(one, "skipped", message=case["why"])
        if door["problem"]:
            one = ET.SubElement(suite, "testcase", classname=door["door"], name="can be tested")
            ET.SubElement(one, "error", message=door["problem"]["message"]).text = door["problem"]["advice"]
        cases = len(door["cases"]) + bool(door["problem"])
        counts = {"tests": cases, "failures": door["counts"]["failed"], "skipped": door["counts"]["skipped"]}
        suite.attrib.update(
            {name: str(count) for name, count in counts.items()}, errors=str(int(bool(door["problem"])))
        )
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))
