"""The history for people: one line for each release, newest first, instead of its three records."""

from dataclasses import dataclass

from sacpipe.release.bars import bar_text
from sacpipe.release.history import History
from sacpipe.release.log import bundle_of
from sacpipe.release.record import Record

_WHAT = {
    ("proven", "promote"): "promoted",
    ("proven", "rollback"): "rolled back to",
    ("proven", "restore"): "restored",
    ("restored", "promote"): "promotion undone, stays",
    ("restored", "rollback"): "rollback undone, stays",
    ("restored", "restore"): "restoring failed, stays",
}
_ALONE = {
    "refused": "refused",
    "barred": "barred",
    "allowed": "bar lifted from",
    "adopted": "adopted",
    "resolved": "fork joined, champion",
}


@dataclass(frozen=True)
class Event:
    """What one or more records say together."""

    numbers: str
    time: str
    what: str
    actor: str
    reason: str


def events(history: History) -> list[Event]:
    """Return what happened, newest first. Records of an unfinished move are one event of their own."""
    found = []
    records = list(history.records.values())
    for record in reversed(records):
        if record.is_open and record not in history.tips:
            continue
        found.append(
            Event(_numbers(history, record), record.time, _what(record), str(record.actor), record.reason)
        )
    return found


def history_text(history: History) -> str:
    """Return the champion, a table of events, and what is barred.

    Raises:
        ReleaseError: the history is forked.
    """
    champion = history.champion
    lines = [
        f"{history.model}: champion is {champion}, since {_since(history)}"
        if champion
        else f"{history.model}: there is no champion"
    ]
    rows = [(one.time, one.what, one.actor, one.reason, one.numbers) for one in events(history)]
    if rows:
        rows.insert(0, ("time (UTC)", "what", "who", "why", "records"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines.append("")
        for time, what, who, why, numbers in rows:
            lines.append(
                f"  {time:<{widths[0]}}  {what:<{widths[1]}}  {who:<{widths[2]}}  {why}  [{numbers}]"
            )
    if history.barred:
        lines.append("")
    for bar in history.barred.values():
        barred = bar.to if bar.kind == "barred" else bar.before
        command = f'`sacpipe promote {barred and barred.version} --again --reason "WHY"`'
        lines.append(f"barred: {barred}, {bar_text(bar)}. {command} promotes it anyway.")
    return "\n".join(lines) + "\n"


def _since(history: History) -> str:
    """Return when the champion became champion: a restored alias or an undone move is no beginning."""
    since = ""
    for record in history.chain(history.tip):
        if record.settles:
            if bundle_of(record.to) != bundle_of(history.champion):
                break
            since = record.time
    return since


def _what(record: Record) -> str:
    if record.is_open:
        return f"unfinished {record.action} to {record.to or 'no champion'}"
    what = _ALONE.get(record.kind) or _WHAT[record.kind, record.action]
    after = f", after version {record.before.version}" if record.kind == "proven" and record.before else ""
    return f"{what} {record.to or 'no champion'}{after}"


def _numbers(history: History, record: Record) -> str:
    """Return the numbers of a record and of the open ones before it that it ends."""
    first = record
    for older in list(history.chain(record))[1:]:
        if not older.is_open or not (record.is_open or record.kind in {"proven", "restored"}):
            break
        first = older
    return f"{first.number}-{record.number}" if first is not record else str(record.number)
