"""The sums of a sale: whether what the till states adds up.

Source: the contract of `POST /v1/transactions` (docs/till-api.md), its paragraph on arithmetic.
"""

from __future__ import annotations

from decimal import Decimal

from agent.domain import money
from agent.domain.transaction import Line, OpenTransaction, Transaction, TransactionType
from agent.errors import Fault

UNIT_PRICE_DECIMALS = 4
_SMALLEST_UNIT_PRICE = Decimal(1).scaleb(-UNIT_PRICE_DECIMALS)
_ZERO = money.ZERO
_NO_CURRENCY = Fault("/currency", "is not an ISO 4217 code")
_NO_LINES = "is needed: a sale has at least one line"
_NOT_THE_SUM = "is not the sum of the purchase lines less the return lines"
_SELLING = frozenset({TransactionType.PURCHASE, TransactionType.POINTS_CLAIM})


def faults(transaction: Transaction) -> list[Fault]:
    """Everything in a well-shaped transaction that does not add up; empty when it is sound.

    Per line ``|quantity| x unit_price - discounts = gross_paid`` to within one minor unit; purchase lines less return
    lines = total; payments = total + rounding. A void need not bring the lines of the sale it clears.
    """
    judge = _judged(transaction)
    if judge is None:
        return [_NO_CURRENCY]
    if transaction.lines:
        _judge_sums(judge, transaction)
    elif transaction.type is not TransactionType.VOID:
        judge.fault(_NO_LINES, "lines")
    return judge.found


def open_faults(sale: OpenTransaction) -> list[Fault]:
    """Everything that does not add up in what is known of a sale that is not closed; empty when it is sound.

    Its lines as in :func:`faults`, and their sum where a total is stated. Nothing is expected of its payments, and its
    lines may be of any kind: more of both may come.
    """
    judge = _judged(sale)
    if judge is None:
        return [_NO_CURRENCY]
    if sale.type is TransactionType.VOID:
        judge.fault("is void, which is never open: what it clears is known", "type")
    if not sale.lines:
        judge.fault(_NO_LINES, "lines")
    elif sale.total is not None and sum_of_lines(sale) != sale.total:
        judge.fault(_NOT_THE_SUM, "total")
    return judge.found


def sum_of_lines(sale: OpenTransaction) -> Decimal:
    """What its lines come to: the purchase lines less the return lines."""
    return sum((line.share for line in sale.lines), _ZERO)


def _judged(sale: OpenTransaction) -> _Judge | None:
    """What is wrong with a sale, closed or not, but for its sums; None when its currency is none, and nothing fits."""
    minor = money.minor_unit(sale.currency)
    if minor is None:
        return None
    judge = _Judge(sale.currency, minor)
    _judge_references(judge, sale)
    if sale.total is not None:
        judge.decimals(sale.total, "total")
    judge.decimals(sale.rounding, "rounding")
    for index, payment in enumerate(sale.payments):
        judge.decimals(payment.amount, "payments", index, "amount")
    for index, line in enumerate(sale.lines):
        _judge_line(judge, line, index)
    return judge


class _Judge:
    """Collects faults. A place is spelled as a JSON pointer only when there is a fault to report there."""

    def __init__(self, currency: str, minor: Decimal) -> None:
        self.found: list[Fault] = []
        self.minor = minor
        self._currency = currency

    def fault(self, message: str, *place: str | int) -> None:
        self.found.append(Fault("".join(f"/{part}" for part in place), message))

    def decimals(self, amount: Decimal, *place: str | int) -> None:
        if amount % self.minor:
            self.fault(f"has more decimals than {self._currency} has ({money.decimals(self.minor)})", *place)

    def never_negative(self, amount: Decimal, *place: str | int) -> None:
        if amount < _ZERO:
            self.fault("is negative", *place)


def _judge_references(judge: _Judge, transaction: OpenTransaction) -> None:
    if transaction.identifier is not None and transaction.integration_key is not None:
        judge.fault("stands beside an identifier: a sale names its member once", "integration_key")
    if transaction.type is TransactionType.VOID and transaction.original_transaction_id is None:
        judge.fault("is needed: a void names the sale it clears", "original_transaction_id")
    original = transaction.original_transaction_id
    if original is not None and original == transaction.transaction_id:
        judge.fault("is the transaction itself", "original_transaction_id")
    if transaction.new_contact is not None and not transaction.new_contact.identifier_statements():
        judge.fault("needs an identifier: mobile_phone, email or personal_number", "new_contact")


def _judge_line(judge: _Judge, line: Line, index: int) -> None:
    if line.sku is None and line.article_number is None:
        judge.fault("is needed, or article_number", "lines", index, "sku")
    if not line.quantity or (line.quantity < _ZERO) != (line.kind == "return"):
        judge.fault("is positive on a purchase line and negative on a return line", "lines", index, "quantity")
    gross, tax = line.gross_paid, line.tax_amount
    judge.never_negative(gross, "lines", index, "gross_paid")
    judge.decimals(gross, "lines", index, "gross_paid")
    if tax is not None:
        judge.never_negative(tax, "lines", index, "tax_amount")
        judge.decimals(tax, "lines", index, "tax_amount")
        if tax > gross >= _ZERO:
            judge.fault("is more than gross_paid, of which it is a part", "lines", index, "tax_amount")
    if line.tax_percent is not None:
        judge.never_negative(line.tax_percent, "lines", index, "tax_percent")
    for row, cut in enumerate(line.discounts):
        judge.never_negative(cut.amount, "lines", index, "discounts", row, "amount")
        judge.decimals(cut.amount, "lines", index, "discounts", row, "amount")
    if line.unit_price is not None:
        _judge_price(judge, line, line.unit_price, index)


def _judge_price(judge: _Judge, line: Line, price: Decimal, index: int) -> None:
    judge.never_negative(price, "lines", index, "unit_price")
    if price % _SMALLEST_UNIT_PRICE:
        judge.fault(f"has more than {UNIT_PRICE_DECIMALS} decimals", "lines", index, "unit_price")
    due = abs(line.quantity) * price
    for cut in line.discounts:
        due -= cut.amount
    if abs(due - line.gross_paid) > judge.minor:
        judge.fault("is not |quantity| x unit_price less the discounts", "lines", index, "gross_paid")


def _judge_sums(judge: _Judge, transaction: Transaction) -> None:
    kinds, paid = {line.kind for line in transaction.lines}, _ZERO
    for payment in transaction.payments:
        paid += payment.amount
    if transaction.type is TransactionType.RETURN and "return" not in kinds:
        judge.fault("has no return line, but the type is return", "lines")
    if transaction.type in _SELLING and "purchase" not in kinds:
        judge.fault(f"has no purchase line, but the type is {transaction.type}", "lines")
    if sum_of_lines(transaction) != transaction.total:
        judge.fault(_NOT_THE_SUM, "total")
    if paid != transaction.total + transaction.rounding:
        judge.fault("do not add up to total + rounding", "payments")
