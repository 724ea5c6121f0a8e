"""Numbers as products of sizes near each other: the most balanced product, and the next number that has one.

Numbers of up to :data:`MOST` are factorized by the primes up to its root, in milliseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LARGEST_RATIO",
    "MOST",
    "SMALLEST_MODE",
    "few_most_balanced",
    "most_balanced",
    "n_prime_factors",
    "nearest_balanced",
]

MOST = 10**12
"""The largest number that is written as a product."""
SMALLEST_MODE = 2
LARGEST_RATIO = 2
"""Of the largest to the smallest size of what counts as balanced."""

_WINDOW, _LARGEST_WINDOW = 2**11, 2**17
_MANY_MULTISETS, _SMALL_ROOT = 2**15, 64


def n_prime_factors(number: int) -> int:
    """The number of prime factors, each counted as often as it divides.

    Examples
    --------
    >>> n_prime_factors(1), n_prime_factors(12), n_prime_factors(97)
    (0, 3, 1)
    """
    return sum(_prime_exponents(number).values())


def few_most_balanced(number: int, n_sizes: int, few: int) -> list[tuple[int, ...]]:
    """The most balanced ways to write a number as a product of so many sizes >= 2, ascending, the best first.

    That is of least largest size, then of least sum, then of greatest smallest size.

    Examples
    --------
    >>> few_most_balanced(48, 2, 3), few_most_balanced(97, 2, 3)
    ([(6, 8), (4, 12), (3, 16)], [])
    """
    if n_sizes == 1:
        return [(number,)]
    primes_of = _divisors(_prime_exponents(number))
    divisors = sorted(primes_of)[1:]
    found: list[tuple[int, ...]] = []
    if primes_of[number][0] < n_sizes:
        return found
    for largest in divisors[bisect_left(divisors, _root_above(number, n_sizes)) :]:
        found += _of_least_sum(number // largest, n_sizes - 1, few - len(found), (largest, divisors, primes_of))
        if len(found) == few:
            break
    return found


def _of_least_sum(
    number: int, n_sizes: int, few: int, within: tuple[int, list[int], dict[int, tuple[int, int]]]
) -> list[tuple[int, ...]]:
    """The few of least sum, and then of greatest smallest size, none above the largest, which is put behind them.

    They are found `within` the largest size, the divisors, and the number of primes and the largest prime of each.
    """
    largest, divisors, primes_of = within
    kept: list[tuple[int, int, tuple[int, ...]]] = []

    def search(rest: int, sizes: tuple[int, ...], n_left: int) -> None:
        """Descend, as long as the sum may be among the least."""
        n_primes, largest_prime = primes_of[rest]
        if n_primes < n_left or largest_prime > sizes[0]:
            return
        if n_left == 0:
            insort(kept, (sum(sizes), -sizes[0], sizes))
            del kept[few:]
            return
        for size in divisors[bisect_left(divisors, _root_above(rest, n_left)) :]:
            # of others that are equal the sum is least, and grows with this size
            least = sum(sizes) + size + (n_left - 1) * (rest / size) ** (1 / max(n_left - 1, 1))
            if size > sizes[0] or (len(kept) == few and least > kept[-1][0] + 0.5):
                return
            if rest % size == 0:
                search(rest // size, (size, *sizes), n_left - 1)

    search(number, (largest,), n_sizes)
    return [sizes for _, _, sizes in kept]


@lru_cache(maxsize=4096)
def most_balanced(number: int, n_sizes: int) -> tuple[int, ...] | None:
    """The first of :func:`few_most_balanced`, or None where there is none.

    Examples
    --------
    >>> most_balanced(3600, 4), most_balanced(97, 2)
    ((6, 6, 10, 10), None)
    """
    found = few_most_balanced(number, n_sizes, 1)
    return found[0] if found else None


@lru_cache(maxsize=4096)
def nearest_balanced(number: int, n_sizes: int) -> tuple[int, ...]:
    """The most balanced sizes of the least product >= `number` of which they have a ratio of at most 2.

    Examples
    --------
    >>> nearest_balanced(97, 2), nearest_balanced(50257, 3), nearest_balanced(10, 3)
    ((7, 14), (27, 38, 49), (2, 2, 3))
    """
    if n_sizes == 1:
        return (number,)
    if number <= SMALLEST_MODE**n_sizes:
        return (SMALLEST_MODE,) * n_sizes
    return next(
        sizes
        for product in _products_from(number, n_sizes)
        if (sizes := most_balanced(product, n_sizes)) is not None and sizes[-1] <= LARGEST_RATIO * sizes[0]
    )


def _products_from(number: int, n_sizes: int) -> Iterator[int]:
    """The products of sizes of a ratio of at most 2, ascending from `number`; for some numbers of sizes others too."""
    if n_sizes == 2:
        yield from _in_turn(number, _next_product_of_two)
    elif _root_above(number, n_sizes) <= _SMALL_ROOT and _multisets(number, n_sizes) <= _MANY_MULTISETS:
        yield from _in_turn(number, lambda start: _next_product_of_many(start, n_sizes))
    else:
        yield from _smooth_numbers(number, n_sizes)


def _in_turn(number: int, following: Callable[[int], int]) -> Iterator[int]:
    while True:
        number = following(number)
        yield number
        number += 1


def _next_product_of_two(number: int) -> int:
    """The least ``a b >= number`` with ``a <= b <= 2 a``: for each a there is one b that comes into question."""
    root = math.isqrt(number - 1) + 1
    a = np.arange(max(1, math.isqrt((number - 1) // LARGEST_RATIO)), root + 1, dtype=np.int64)
    b = np.maximum(-(-number // a), a)
    return int(np.min((a * b)[b <= LARGEST_RATIO * a]))


def _multisets(number: int, n_sizes: int) -> int:
    """At most how many products of half the sizes there are for one smallest size."""
    root, half = _root_above(number, n_sizes), n_sizes // 2
    return math.comb(root * (LARGEST_RATIO - 1) + half, half)


def _next_product_of_many(number: int, n_sizes: int) -> int:
    """The least product >= `number`: those of half the sizes meet those of the others, for each smallest size."""
    root = _root_above(number, n_sizes)
    nearest = int(root**n_sizes)
    for smallest in range(root, SMALLEST_MODE - 1, -1):
        if smallest * (LARGEST_RATIO * smallest) ** (n_sizes - 1) < number:
            break
        sizes = range(smallest, LARGEST_RATIO * smallest + 1)
        few, many = (_products(sizes, n) for n in ((n_sizes - 1) // 2, n_sizes // 2))
        few = np.sort(few * smallest)
        places = np.searchsorted(few, -(-number // many))
        met = few[np.minimum(places, len(few) - 1)]
        is_near = (places < len(few)) & (met <= nearest // many)  # so that no product leaves the range
        nearest = int(np.min(met[is_near] * many[is_near], initial=nearest))
    return nearest


def _products(sizes: range, n: int) -> NDArray[np.int64]:
    """Those of n sizes, with repetition."""
    products, last = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    for _ in range(n):
        grown = [(products[last <= size] * size, size) for size in sizes]
        products = np.concatenate([found for found, _ in grown])
        last = np.repeat(np.array(sizes), [len(found) for found, _ in grown])
    return products


def _smooth_numbers(number: int, n_sizes: int) -> Iterator[int]:
    """The numbers from `number` on without a prime that is larger than twice the root, found in growing windows."""
    window = _WINDOW
    while True:
        primes = _primes(LARGEST_RATIO * _root_above(number + window, n_sizes))
        rest = np.arange(number, number + window, dtype=np.int64)
        for prime in primes.tolist():
            power = prime
            while power < number + window:
                start = -number % power
                if start >= window:
                    break
                rest[start::power] //= prime
                power *= prime
        yield from (number + np.flatnonzero(rest == 1)).tolist()
        number, window = number + window, min(4 * window, _LARGEST_WINDOW)


def _root_above(number: int, n: int) -> int:
    """The least integer whose n-th power is not below `number`."""
    root = max(1, round(math.exp(math.log(number) / n)))
    while root**n >= number:
        root -= 1
    while root**n < number:
        root += 1
    return root


@lru_cache(maxsize=4096)
def _prime_exponents(number: int) -> dict[int, int]:
    exponents: dict[int, int] = {}
    primes = _primes(min(math.isqrt(number), math.isqrt(MOST) + 1))
    for prime in primes[number % primes == 0].tolist():
        while number % prime == 0:
            exponents[prime] = exponents.get(prime, 0) + 1
            number //= prime
    return exponents | ({number: 1} if number > 1 else {})


def _divisors(exponents: dict[int, int]) -> dict[int, tuple[int, int]]:
    """The divisors, and of each the number of prime factors and the largest."""
    divisors = {1: (0, 1)}
    for prime, exponent in sorted(exponents.items()):
        powers = [(e, prime if e else 1) for e in range(exponent + 1)]
        divisors = {d * prime**e: (n + e, max(largest, p)) for d, (n, largest) in divisors.items() for e, p in powers}
    return divisors


def _primes(most: int) -> NDArray[np.int64]:
    """Those up to `most`."""
    table = _prime_table(1 << max(most, 1).bit_length())
    return table[: int(np.searchsorted(table, most, side="right"))]


@lru_cache(maxsize=32)
def _prime_table(most: int) -> NDArray[np.int64]:
    is_prime = np.ones(most + 1, dtype=bool)
    is_prime[:2] = False
    for k in range(2, math.isqrt(most) + 1):
        if is_prime[k]:
            is_prime[k * k :: k] = False
    return np.flatnonzero(is_prime)
