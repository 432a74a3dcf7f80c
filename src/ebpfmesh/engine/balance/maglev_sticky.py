"""``maglev-sticky``: Maglev that keeps the table it has, and moves only the slots that have to move.

When one of 160 backends leaves, `maglev` also moves 1 to 2 % of the slots of the others. Here a leaver's
slots are refilled and every other slot stays. The price: the table depends on its history, so it is part of
the state that nodes share (the paper's table is the one that a first build makes).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain

from ebpfmesh.engine.balance.apportion import apportion
from ebpfmesh.engine.balance.maglev import Maglev, fill, table_size
from ebpfmesh.engine.balance.preference import preference, preferred
from ebpfmesh.engine.balance.table import Pick, Table, Target


class MaglevSticky(Maglev):
    """As even as `Maglev`, every share within one slot, with the fewest moves that this evenness allows.

    A backend that leaves moves its own slots only, when weights are equal. With unequal weights, one more
    slot may move where a share would otherwise be off by more than one slot.
    """

    name = "maglev-sticky"

    def build(self, targets: Sequence[Target], previous: Table | None, *, size: int | None) -> Table:
        """The table of the targets with a weight above 0, as close to ``previous`` as their shares allow.

        A ``previous`` table of another size than ``size`` is not used, and neither is one that is not a Maglev
        table. Without a ``size`` the previous one is kept while it holds 100 slots a backend.
        """
        if previous is None or previous.pick is not Pick.HASH or len(previous.slots) != previous.count:
            return super().build(targets, None, size=size)
        if size is None:
            size = max(previous.count, table_size(len(targets)))
        active = sorted([target for target in targets if target.weight], key=lambda target: target.identity)
        ids = {target.id for target in active}
        if previous.count != size or self.refuse([1] * len(targets), size) or ids.isdisjoint(previous.slots):
            return super().build(targets, None, size=size)
        return Table(_refill(active, previous.slots), Pick.HASH, size)


def _refill(active: Sequence[Target], previous: array[int]) -> array[int]:
    size = len(previous)
    held = [0] * (1 << 16)
    for id_ in previous:
        held[id_] += 1
    weights, weight_sum = [target.weight for target in active], sum(target.weight for target in active)
    # Who holds the ceiling of its share already is asked first whether it keeps it: giving it back would be a move.
    keep = [
        index for index, target in enumerate(active) if held[target.id] > size * target.weight // weight_sum
    ]
    shares = apportion(size, weights, first=keep)
    wanted = [share - held[target.id] for share, target in zip(shares, active, strict=True)]
    known = {target.id for target in active}
    slots = [id_ if id_ in known else 0 for id_ in previous]
    surplus = {target.id: -want for target, want in zip(active, wanted, strict=True) if want < 0}
    growing = [(target.identity, target.id) for target, want in zip(active, wanted, strict=True) if want > 0]
    if surplus:
        _release(slots, surplus, growing)
    if growing:
        fill(slots, [want for want in wanted if want > 0], growing)
    return array("H", slots)


def _release(slots: list[int], surplus: dict[int, int], growing: Sequence[tuple[bytes, int]]) -> None:
    # The slots given back are those that the backends which gain like best, so that a newcomer gets nearly the
    # slots that a fresh table would give it.
    walks = [preferred(*preference(identity, len(slots)), len(slots)) for identity, _ in growing]
    for slot in chain.from_iterable(zip(*walks, strict=True)):
        owner = slots[slot]
        if owner in surplus:
            slots[slot] = 0
            surplus[owner] -= 1
            if not surplus[owner]:
                del surplus[owner]
                if not surplus:
                    return
