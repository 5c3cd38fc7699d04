"""Reading Label Studio's JSON export of tasks that were ranked (Ranker over a list) or compared (Pairwise)."""

from collections.abc import Iterator, Mapping, Sequence

from app.comparisons.rankings import Order
from app.errors import BadInput
from app.kit.given import Given
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.prompts.shapes import prompts_of
from training.contract.records import Message

LEFT, RIGHT = "left", "right"


def orders(values: Given) -> list[Order]:
    """Return every ranking of a task, one for each annotation; raise BadInput if no annotation ranks or compares."""
    data, annotations = values.structured("data"), values.structured("annotations")
    if not isinstance(data, Mapping) or not isinstance(annotations, list):
        raise BadInput(
            _("The row is not a Label Studio task; export as “JSON”, with data and annotations. The row has: %(keys)s.")
            % {"keys": values.named()},
            field="data",
        )
    if not any(isinstance(one, Mapping) and one.get("result") for one in annotations):
        values.used.update(values)
        return [Order((), (), (), "", _("Nobody has annotated the task yet."))]
    data = values.within("data", data)
    made = [order for one in annotations if isinstance(one, Mapping) for order in _annotation(data, one)]
    if not made:
        raise BadInput(_("The task has no annotation that ranks or compares."), field="annotations")
    return made


def _annotation(data: Given, annotation: Mapping) -> Iterator[Order]:
    by = annotation.get("completed_by")
    labeler = str(by.get("id", by.get("email", ""))) if isinstance(by, Mapping) else str(by or "")
    cancelled = _("The annotation was canceled.") if annotation.get("was_cancelled") else ""
    for result in annotation.get("result") or []:
        value = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(value, Mapping):
            continue
        if result.get("type") == "ranker":
            texts, tiers, used = _ranked(data, value.get("ranker"))
        elif result.get("type") == "pairwise":
            texts, tiers, used = _compared(data, result.get("to_name"), value.get("selected"))
        else:
            continue
        data.used.update(used, ("id",))
        yield Order(_prompt(data, used), texts, tiers, labeler, cancelled)


def _ranked(data: Given, ranker: object) -> tuple[list[str], list[int | None], set[str]]:
    """Return (texts, tiers, fields used) of a ranked list, or of its only ranked bucket."""
    if isinstance(ranker, Mapping):  # "_" has the items that were not moved
        buckets = {name: ids for name, ids in ranker.items() if ids and name != "_"}
        if len(buckets) > 1:
            raise BadInput(
                _("The ranker has several buckets (%(names)s) with no order among them; rank in one list.")
                % {"names": ", ".join(buckets)},
                field="annotations",
            )
        ranker = next(iter(buckets.values()), [])
    given = {name: data.peek(name) for name in data}
    lists = {name: found for name, found in given.items() if isinstance(found, list) and _items(found)}
    ids = [str(one) for one in ranker] if isinstance(ranker, list) else []
    for name, found in lists.items():
        items = _items(found)
        if set(ids) <= items.keys():
            places = {id: place for place, id in enumerate(ids, 1)}
            return list(items.values()), [places.get(id) for id in items], {name}
    raise BadInput(
        _("The ranker names items that the task's data does not contain: %(ids)s.") % {"ids": ", ".join(ids)[:80]},
        field="data",
    )


def _items(found: Sequence) -> dict[str, str]:
    """Return the texts of a list's items by id; none if the list is not of that kind."""
    if not all(isinstance(one, Mapping) and "id" in one for one in found):
        return {}
    texts = {}
    for number, one in enumerate(found):
        text = next((one[key] for key in ("body", "text", "title") if one.get(key) is not None), None)
        texts[str(one["id"])] = require_text(text, f"data.{number}.body", may_be_empty=True)
    return texts


def _compared(data: Given, to_name: object, selected: object) -> tuple[list[str], list[int | None], set[str]]:
    """Return (texts, tiers, fields used) of two texts of which one was selected."""
    names = to_name.split(",") if isinstance(to_name, str) else to_name
    if not isinstance(names, list) or len(names) != 2 or not all(isinstance(one, str) and one in data for one in names):
        # The tags do not name fields of the data; the two texts besides the prompt are then left and right, in order.
        names = [name for name in data if isinstance(data.peek(name), str) and name not in _PROMPTS]
    if len(names) != 2:
        raise BadInput(
            _("Cannot tell which two texts were compared; besides the prompt there are: %(names)s.")
            % {"names": ", ".join(names) or _("none")},
            field="data",
        )
    if selected not in (LEFT, RIGHT):
        raise BadInput(_("selected is “%(given)s”; it must be left or right.") % {"given": selected}, field="selected")
    texts = [require_text(data[name], f"data.{name}", may_be_empty=True) for name in names]
    return texts, [1, 2] if selected == LEFT else [2, 1], set(names)


_PROMPTS = ("prompt", "messages", "conversations", "instruction", "input", "question", "query")


def _prompt(data: Given, used: set[str]) -> tuple[Message, ...]:
    rest = {name: data.peek(name) for name in data if name not in used and name in _PROMPTS and data.peek(name)}
    for name in ("question", "query"):
        if "prompt" not in rest and name in rest:
            rest["prompt"] = rest[name]
            data.used.add(name)
    asked = Given(rest or data.values_)
    messages = prompts_of(asked)[0]
    data.used.update(asked.used)
    return messages
