"""Figures for people: money, counts, times. Exact ones where money is charged, rounded ones in overviews."""

from datetime import UTC, datetime

from smartoken.domain.money import P_PER_U, U_PER_USD

DAY_MS = 86_400_000

# Prices as people read them.
PRICES = {"input_per_mtok": "Input, per million tokens", "output_per_mtok": "Output, per million tokens",
          "cache_read_per_mtok": "Cached input, per million tokens",
          "cache_write_per_mtok": "Writing the cache, per million tokens", "per_image": "Per image",
          "per_image_by_size": "Per image by size", "per_mchar": "Per million characters",
          "per_audio_second": "Per second of audio", "per_voice": "Per cloned voice",
          "per_tool_call": "Per call of a server-side tool",
          "video_price_per_second_by_resolution": "Per second of video, by resolution"}


def exact_u(amount_u: int | None) -> str:
    """1_500_000 -> '1.50': USD as one writes it in a field; '' for None."""
    return "" if amount_u is None else exact_p(amount_u * P_PER_U).removeprefix("$").replace("-$", "-")


def exact_p(amount_p: int) -> str:
    """pUSD -> '$0.000123': never rounded, at least two decimals."""
    sign = "-" if amount_p < 0 else ""
    whole, part = divmod(abs(amount_p), U_PER_USD * P_PER_U)
    return f"{sign}${whole:,}.{f'{part:012d}'.rstrip('0').ljust(2, '0')}"


def usd_u(amount_u: int) -> str:
    """µUSD for an overview: cents, or enough places to see a small amount."""
    return usd_p(amount_u * P_PER_U)


def usd_p(amount_p: int) -> str:
    """pUSD for an overview: '$1,234.50', '$0.0310', '$0.000027'. Cut off, never rounded up."""
    sign, amount_p = ("-" if amount_p < 0 else ""), abs(amount_p)
    if 0 < amount_p < P_PER_U:
        return f"< {sign}$0.000001"
    usd_p = U_PER_USD * P_PER_U
    places = 2 if amount_p >= usd_p or not amount_p else 4 if amount_p >= usd_p // 100 else 6
    whole, part = divmod(amount_p, usd_p)
    return f"{sign}${whole:,}.{part * 10**places // usd_p:0{places}d}"


def count(value: int) -> str:
    """1234567 -> '1,234,567'."""
    return f"{value:,}"


def short(value: int) -> str:
    """1234567 -> '1.23M', 12345 -> '12.3k', 9999 -> '9,999'. What rounds up to a thousand of a unit is one of the next."""
    if abs(value) < 10**4:
        return f"{value:,}"
    for size, unit in ((10**3, "k"), (10**6, "M"), (10**9, "B")):
        if abs(shown := float(f"{value / size:.3g}")) < 1000:
            return f"{shown:g}{unit}"
    return f"{float(f'{value / 10**12:.3g}'):,.15g}T"


def percent(part: int, whole: int) -> str:
    """'12.5 %'; a dash when there is nothing to be a part of."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def ms(value: int) -> str:
    """'840 ms', '12.4 s'."""
    return f"{value} ms" if value < 1000 else f"{value / 1000:.1f} s" if value < 120_000 else f"{value // 60_000} min"


def day(number: int) -> str:
    """A day since 1970 as '2026-11-22'."""
    return datetime.fromtimestamp(number * DAY_MS / 1000, UTC).strftime("%Y-%m-%d")
