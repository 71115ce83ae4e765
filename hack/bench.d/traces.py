#!/usr/bin/env python3
"""The judge's formulas once more, by themselves, on releases drawn at random: what its tests are held against.

  hack/bench.d/traces.py >src/judge/traces.json

One line is one release, and its number is its seed. The same seeds give the same file; src/judge/traces.rs says what is in it.
"""
import json
from math import exp, log, log1p
from random import Random

RATIOS = [exp(log(1.25) + step * log(32 / 1.25) / 23) for step in range(24)]
ABOVE, BELOW = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7], [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95]
STAKES = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7]


def ln_mean(logs):
    greatest = max(logs)
    return greatest + log(sum(exp(it - greatest) for it in logs) / len(logs))


def path(looks, parts, gains):
    """The logarithm of a mean of so many parts after each look; gains says what a look adds to the logarithm of each."""
    sums, after = [0.0] * parts, []
    for look in looks:
        sums = [before + gain for before, gain in zip(sums, gains(*look) or [0.0] * parts)]
        after.append(ln_mean(sums))
    return after


def shares_against(share, other):
    """What an error on the canary and one on stable say for the other share of the canary."""
    return log(other / share), log((1 - other) / (1 - share))


def least_share(excluded, n_c, n_s, e):
    """The smaller root of (psi-1) mu^2 - (n_s + psi n_c + (psi-1) e) mu + psi n_c e = 0, of e."""
    a, b, c = excluded - 1, n_s + excluded * n_c + (excluded - 1) * e, excluded * n_c * e
    return 2 * c / (b + (b * b - 4 * a * c) ** 0.5) / e


def harm(tolerated, power):
    def gains(n_c, x_c, n_s, x_s):
        if n_c and n_s:
            share = lambda odds: odds * n_c / (odds * n_c + n_s)
            each = [shares_against(share(tolerated), share(tolerated * ratio)) for ratio in RATIOS]
            return [power * (x_c * on_canary + x_s * on_stable) for on_canary, on_stable in each]
    return 24, gains


def safe(excluded, power):
    def gains(n_c, x_c, n_s, x_s):
        if n_c and n_s and x_c + x_s:
            share = least_share(excluded, n_c, n_s, x_c + x_s)
            odds = share / (1 - share)
            each = [shares_against(share, odds / ratio / (1 + odds / ratio)) for ratio in RATIOS]
            return [power * (x_c * on_canary + x_s * on_stable) for on_canary, on_stable in each]
    return 24, gains


def above(tolerated):
    def gains(n_c, x_c, n_s, x_s):
        if n_c and n_s and x_c + x_s:
            share = tolerated * n_c / (tolerated * n_c + n_s)
            return [log1p(stake * (x_c / (x_c + x_s) / share - 1)) for stake in ABOVE]
    return 7, gains


def below(excluded):
    def gains(n_c, x_c, n_s, x_s):
        if n_c and n_s and x_c + x_s:
            share = least_share(excluded, n_c, n_s, x_c + x_s)
            return [log1p(stake * (share - x_c / (x_c + x_s)) / (1 - share)) for stake in BELOW]
    return 7, gains


def rate(allowed):
    def gains(n_c, x_c, n_s, x_s):
        if n_c:
            return [log1p(stake * (x_c / n_c / allowed - 1)) for stake in ABOVE]
    return 7, gains


def means(sign, by):
    """Of numbers from 0 to 1, of which each arm has so many, their sum and that of their squares."""
    past = [0, 0.0, 0, 0.0]

    def psi(stake):
        return -log1p(-stake) - stake

    def gains(n_c, sum_c, squares_c, n_s, sum_s, squares_s):
        guess_s = past[3] / past[2] if past[2] else 0.5
        guess_c = past[1] / past[0] if past[0] else guess_s
        past[:] = [before + now for before, now in zip(past, [n_c, sum_c, n_s, sum_s])]
        if n_c and n_s:
            spread_c = squares_c - 2 * guess_c * sum_c + n_c * guess_c**2
            spread_s = squares_s - 2 * guess_s * sum_s + n_s * guess_s**2
            difference = sign * (sum_c / n_c - sum_s / n_s) - by
            stakes = [stake * min(1, n_s / n_c) for stake in STAKES]
            return [it * n_c * difference - psi(it) * spread_c - psi(it * n_c / n_s) * spread_s for it in stakes]
    return 7, gains


def dispersion(past):
    """Pearson's chi squared by degree of freedom of each row of pods, weighed by its errors."""
    weighed = errors = 0
    for row in past:
        e, n = sum(x for _, x in row), sum(n for n, _ in row)
        if e:
            chi = sum((x - e * n_pod / n) ** 2 / (e * n_pod / n) for n_pod, x in row)
            weighed, errors = weighed + e * chi / (len(row) - 1), errors + e
    return max(1.0, weighed / errors)


def drawn(seed):
    """Few requests and many, rare errors and frequent ones, alone and in bursts, and looks in which one arm has none."""
    dice = Random(seed)
    share, burst = [0.05, 0.2, 0.5, 0.85][seed % 4], [1, 1, 1.3, 4][dice.randrange(4)]
    requests, base, times = dice.choice([30, 500, 500, 3000]), dice.choice([0.0005, 0.005, 0.02, 0.1]), [1, 1, 2, 5, 10][seed % 5]

    def binomial(n, probability):
        return sum(dice.random() < probability for _ in range(n))

    def errors(n, rate):
        x = binomial(n, min(rate, 1) / burst)
        for _ in range(x):
            while dice.random() > 1 / burst:
                x += 1
        return min(x, n)

    looks = []
    for _ in range(6 + 2 * dice.randrange(6)):
        n_c, n_s = (binomial(requests, it) * dice.choice([1, 1, 1, 1, 1, 1, 1, 0]) for it in (share, 1 - share))
        looks.append([n_c, errors(n_c, base * times), n_s, errors(n_s, base)])
    row = lambda: [[n, errors(n, 0.2)] for n in (dice.randrange(90, 180) for _ in range(3))]
    return looks, [row() for _ in range(5)]


def trace(seed):
    looks, past = drawn(seed)
    tolerated, excluded, block = [1.0, 1.25, 1.5][seed % 3], [2.0, 3.0][seed % 2], [1, 2, 3][seed // 2 % 3]
    phi = dispersion(past)
    blocks = [[sum(column) for column in zip(*looks[at : at + block])] for at in range(0, len(looks) - block + 1, block)]

    def by_blocks(test):
        after = path(blocks, *test)
        return [after[done // block - 1] if done >= block else 0.0 for done in range(1, len(looks) + 1)]

    def scored(share):
        """A bad request counts 1 and a good one this."""
        arm = lambda n, x: [n, x + (n - x) * share, x + (n - x) * share**2]
        return [arm(n_c, x_c) + arm(n_s, x_s) for n_c, x_c, n_s, x_s in looks]

    one_by_one, shares = path(looks, *harm(tolerated, 1 / phi)), by_blocks(above(tolerated))
    paths = [
        path(looks, *harm(tolerated, 1)),
        path(looks, *safe(excluded, 1)),
        shares,
        by_blocks(below(excluded)),
        by_blocks(rate(0.01)),
        path(scored(0), *means(1, 0.002)),
        path(scored(0.5), *means(-1, -0.05)),
        one_by_one if phi <= 1.5 else shares,
        one_by_one if phi <= 1.5 else [ln_mean(both) for both in zip(one_by_one, shares)],
        path(looks, *safe(excluded, 1 / phi)) if phi <= 1.5 else by_blocks(below(excluded)),
    ]
    ends = [[float(f"{after[at]:.11g}") for at in (len(looks) // 2 - 1, -1)] for after in paths]
    return [tolerated, excluded, block, past, looks, phi, *ends]


if __name__ == "__main__":
    lines = [json.dumps(trace(seed), separators=(",", ":")) for seed in range(100)]
    print("[" + ",\n".join(lines) + "]")
