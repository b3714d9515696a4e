"""That an order which an officer signs is the one that they gave."""

from __future__ import annotations

from agency_node.disclosure.orders import OfficerOrder
from agency_node.disclosure.page import Acting, prepared_as, require_agreed
from agency_node.rpc.ports import OrderDraft, PreparedDocument


def agreed_order(prepared: PreparedDocument, draft: OrderDraft, acting: Acting) -> OfficerOrder:
    """The order to sign, if every word of it is the officer's.

    Raises:
        TerminalError: it is another one: nothing must be signed. DocumentError: it cannot be read.
    """
    order = prepared_as(OfficerOrder, prepared)
    said = OrderDraft(
        order.act.value,
        str(order.target),
        str(order.about or ""),
        str(order.reason),
        str(order.officer),
        order.role.value,
    )
    require_agreed(said == draft and order.organisation == acting.agency)
    return order
