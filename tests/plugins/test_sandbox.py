"""The sandbox provider through its own hooks and the official SDK: what a demo's first call meets."""

import asyncio

import openai

from smartoken.conf import parse
from smartoken.plugin.loader import load


def test_it_answers_word_by_word_counts_them_and_takes_no_orders():
    host = load(parse('[plugins]\nenabled = ["sandbox", "wire_openai"]\n[plugins.sandbox]\nword_ms = 1\n', "here"))
    provider = host.registry.providers["sandbox"]

    async def main():
        assert provider.base_url() == ""
        await host.open(None)
        try:
            client = openai.AsyncOpenAI(api_key="none", base_url=provider.base_url(), max_retries=0)
            say = [{"role": "user", "content": "你好"}]
            whole = await client.chat.completions.create(model="any", messages=say, extra_body={"x_fault": "500"})
            text = whole.choices[0].message.content
            assert text.startswith("Hello from the sandbox. You said: “你好”.")
            assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (len(text.split()), "stop")
            chunks = [chunk async for chunk in await client.chat.completions.create(
                model="any", messages=say, stream=True, stream_options={"include_usage": True}, max_tokens=6)]
            words = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
            assert words == ["Hello", " from", " the", " sandbox.", " You", " said:"]
            assert chunks[-1].usage.completion_tokens == 6
            turn = await client.responses.create(model="any", input="hello")
            assert "You said: “hello”" in turn.output_text
            await client.close()
        finally:
            await host.close(None)
        assert provider.base_url() == ""

    asyncio.run(main())
