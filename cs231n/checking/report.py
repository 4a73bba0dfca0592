"""What a check of a layer found, as data and in words."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from cs231n.checking.rel_error import rel_error
from cs231n.core.tables import html_table

__all__ = ["Entry", "LayerReport", "is_fault", "summary", "unexplained"]

_SHOWN = 5  # kinks in the message
_FAULTS = {
    "wrong": "the gradient is wrong",
    "outside": "a kink, with slope {left:.6g} to the left and {right:.6g} to the right, and the"
    " gradient is not between them: wrong, unless several kinks meet here (check at other values)",
    "jump": "the output jumps here, so that there is no slope to compare with",
    "unclear": "the numeric slope depends on the step, so that nothing can be said: is the output"
    " nan, infinite or very steep nearby?",
}


@dataclass(frozen=True)
class Entry:
    """What was found at one entry of an argument.

    verdict is 'wrong', 'kink' (the slopes to the left and to the right differ, and the gradient
    lies between them), 'outside' (a kink, but it does not), 'jump' (the output is not continuous)
    or 'unclear' (the slope depends on the step).  numeric is the central difference; cause names
    the usual reason of a kink.
    """

    argument: str
    index: tuple[int, ...]
    value: float
    verdict: str
    analytic: float
    numeric: float
    left: float
    right: float
    cause: str

    @property
    def error(self) -> float:
        """Relative error of the gradient here, as `rel_error` defines it."""
        return rel_error(self.analytic, self.numeric)

    @property
    def difference(self) -> float:
        """How far the gradient is from the central difference; infinite if that is nan."""
        difference = abs(self.analytic - self.numeric)
        return difference if difference >= 0 else float("inf")

    def __str__(self) -> str:
        """Say it in a sentence."""
        index = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        place = f"{self.argument}{index} = {self.value:.6g}"
        if self.verdict == "kink":
            return (
                f"{place} lies on a kink ({self.cause}): slope {self.left:.6g} to the left,"
                f" {self.right:.6g} to the right; the gradient {self.analytic:.6g} lies between"
            )
        explanation = _FAULTS.get(self.verdict, "").format(left=self.left, right=self.right)
        return (
            f"{place}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g},"
            f" relative error {self.error:.1e}: {explanation}"
        )


@dataclass(frozen=True)
class LayerReport:
    """What `check_layer` found; true where the gradients are right, and printed as a text.

    Attributes
    ----------
    ok : bool
        Whether all gradients agree, but for kinks.
    errors : dict of str to float
        For each argument the largest disagreement along a random direction, relative to the norm
        of its gradient.
    worst : Entry or None
        The entry that disagrees most; None where nothing disagrees or no single entry does.
    kinks : tuple of Entry
        Entries at which the output has a corner and the gradient lies between the two slopes.
    problems : tuple of str
        Whatever else is wrong, such as a gradient of the wrong shape.
    tolerance : float
        Largest error accepted.
    message : str
        All of it in words.
    """

    ok: bool
    errors: dict[str, float]
    worst: Entry | None
    kinks: tuple[Entry, ...]
    problems: tuple[str, ...]
    tolerance: float
    message: str

    def __bool__(self) -> bool:
        """Return whether the gradients are right."""
        return self.ok

    def __str__(self) -> str:
        """Return the message."""
        return self.message

    def _repr_html_(self) -> str:
        """Return the findings as a table, for notebooks."""
        head, *findings = self.message.split("\n  ")
        begins = {f"{name}: error ": name for name in self.errors}
        rows, notes = [], ""
        for line in findings:
            start = next((one for one in begins if line.startswith(one)), None)
            if start is None:
                notes += f"<li>{escape(line)}</li>"
            else:
                rows.append((begins[start], line.removeprefix(start)))
        table = html_table(("gradient of", "error"), rows)
        return f"<p><b>{escape(head)}</b></p>{table}" + (f"<ul>{notes}</ul>" if notes else "")


def is_fault(entry: Entry) -> bool:
    """Tell whether the entry shows the gradient to be wrong, or in doubt."""
    return entry.verdict in _FAULTS


def unexplained(name: str, error: float, entries: list[Entry]) -> str:
    """Say that an argument's gradient disagrees though no entry is to blame."""
    kinks = sum(entry.verdict == "kink" for entry in entries)
    if kinks:
        return (
            f"{name}: so many kinks ({kinks} before the search stopped) that the gradient can't be"
            f" judged; check at random values, without many zeros or ties"
        )
    return (
        f"{name}: the slopes along a random direction disagree by {error:.1e} but those at single"
        f" entries do not; is there a kink or a jump close by?  Try other values, or another h"
    )


def summary(
    title: str,
    lines: list[str],
    errors: dict[str, float],
    entries: list[Entry],
    problems: list[str],
    tolerance: float,
) -> LayerReport:
    """Return the report with its message."""
    faults = [entry for entry in entries if is_fault(entry)]
    kinks = tuple(entry for entry in entries if entry.verdict == "kink")
    worst = max(faults, key=lambda entry: entry.difference, default=None)
    ok = not problems and not faults
    head = f"{title}: {'the gradients agree' if ok else 'FAILED'}"
    lines = [head, *lines, *problems, *([str(worst)] if worst else [])]
    lines += [str(kink) for kink in kinks[:_SHOWN]]
    lines += [f"and {len(kinks) - _SHOWN} more kinks"] if len(kinks) > _SHOWN else []
    return LayerReport(
        ok, errors, worst, kinks, tuple(problems), tolerance, message="\n  ".join(lines)
    )
