"""What a provider says we used, read from real text and held against rows in a real store."""

import asyncio

import pytest

from smartoken.domain.usage import Usage, UsageRecord
from smartoken.engine.reconcile import reconcile
from smartoken.engine.statement import parse
from smartoken.errors import ConfigError
from smartoken.testing.lossy import HeldClock, sqlite_in

HEADER = "channel,model,input,output"
DAY = (1000, 2000)


def read(*lines):
    return parse([f"{line}\n" for line in lines], "june.csv", *DAY)


def test_lines_are_added_up_and_columns_may_stand_in_any_order():
    found = read("output, input ,channel,model", "1,10,c,m", "", "2,20,c,m", '3,30,"c",n')
    assert found.tokens == {("c", "m"): {"output": 3, "input": 30}, ("c", "n"): {"output": 3, "input": 30}}
    assert not found.cached and read(f"{HEADER},cache", "c,m,1,2,3").cached


@pytest.mark.parametrize(("lines", "said"), [
    ((), "line 1: column channel is missing"),
    ((HEADER,), "no lines below"),
    (("channel,model,input",), "line 1: column output is missing"),
    (("chanel,model,input,output",), "line 1: there is no column 'chanel'; did you mean 'channel'?"),
    (("channel,model,input,output,input",), "line 1: column input is there twice"),
    ((HEADER, "c,m,1,2", "c,m,1"), "line 3: 3 fields, but the header names 4 columns"),
    ((HEADER, "c,m,1,2,"), "line 2: 5 fields"),
    ((HEADER, "c,,1,2"), "line 2, column model: it is empty"),
    ((HEADER, "c,m,1.5,2"), "line 2, column input: '1.5' is no number of tokens"),
    ((HEADER, 'c,m,1,"1,000"'), "line 2, column output: '1,000' is no number"),
    ((HEADER, "c,m,-1,2"), "line 2, column input: '-1'"),
    ((HEADER, "c,m,1,٣"), "line 2, column output"),
    ((HEADER, "c,m,1," + "9" * 19), "line 2, column output"),
    ((HEADER, 'c,"m"x,1,2'), "line 2: this is no CSV"),
    ((HEADER, "c,m,1,2", "c,*,1,2"), "line 2: channel 'c' has lines of * and of single models"),
])
def test_what_is_malformed_is_named_by_line_and_column(lines, said):
    with pytest.raises(ConfigError) as error:
        read(*lines)
    assert said in str(error.value) and str(error.value).startswith("june.csv: ")


async def compared(folder, *lines):
    """R4's findings as {(where, column): wrong}, of a store with two channels and one that was removed."""
    clock = HeldClock()
    async with sqlite_in(folder) as store:
        if await store.get("channels", "c") is None:
            await store.insert("channels", {"_id": "c", "rev": 1, "models": {"our": "theirs", "same": "theirs"}})
            await store.insert("channels", {"_id": "idle", "rev": 1, "models": {}})
            rows = [("1", "c", "our", 1500, Usage(600, 100, 300, 100)), ("2", "c", "same", 1999, Usage(1000, 100)),
                    ("3", "c", "bare", 1000, Usage(5, 5)), ("4", "c", "our", 999, Usage(7000)),
                    ("5", "c", "our", 2000, Usage(7000)), ("6", "gone", "x", 1500, Usage(10, 1)),
                    ("7", "c", "image", 1500, Usage(images=1))]
            await store.put_usage([UsageRecord(rid=rid, acct="a", key="k", model=model, channel=channel, at_ms=at_ms,
                                               usage=usage) for rid, channel, model, at_ms, usage in rows])
        page = await reconcile(store, clock, statement=read(*lines))
        found = [finding for finding in page.findings if finding.rule == "R4"]
        return {(finding.where, finding.text.partition(":")[0]): finding.wrong for finding in found}


def test_our_tokens_are_those_of_the_provider_within_half_a_percent(tmp_path):
    same, bare = ("c theirs", "input"), "c,bare,5,5"
    out = {("c theirs", "output"): False, ("c bare", "input"): False, ("c bare", "output"): False}

    def said(*lines):
        return asyncio.run(compared(tmp_path, HEADER, *lines))

    assert said("c,theirs,2000,200", bare) == {same: False, **out}, "all of the prompt, what was cached too"
    assert said("c,theirs,2010,200", bare) == {same: False, **out}
    assert said("c,theirs,2011,200", bare)[same], "above 0.5 %"
    assert said("c,theirs,1990,200", bare) == {same: True, **out}, "it is of what the provider says"
    assert said("c,theirs,1991,200", bare) == {same: False, **out}
    assert said("c,theirs,2000,200") == {same: False, ("c theirs", "output"): False, ("c bare", "input"): True,
                                         ("c bare", "output"): True}, "the provider knows nothing of those"
    assert said("c,theirs,2000,200", bare, "c,our,1,0")["c our", "input"], "our own name is none of theirs"
    assert said("c,*,2005,205") == {("c *", "input"): False, ("c *", "output"): False}
    assert said("gone,x,10,1", "idle,y,3,0") == {("gone x", "input"): False, ("gone x", "output"): False,
                                                 ("idle y", "input"): True}
    with pytest.raises(ConfigError, match="line 3, column channel: there is no channel 'd'"):
        said("c,*,2005,205", "d,m,1,1")
    apart = asyncio.run(compared(tmp_path, f"{HEADER},cache", "c,*,1605,205,400"))
    assert apart == {("c *", name): False for name in ("input", "output", "cache")}
