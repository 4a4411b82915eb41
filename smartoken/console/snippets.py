"""Ready-to-copy calls of a model: curl, Python, Node. Whole programs: with a key in SMARTOKEN_API_KEY they run."""

import json
from typing import Any

from smartoken.console.shelf import Offer

PROMPT = {"llm": "Say hello in three languages.", "text2image": "A lighthouse at dusk, oil on canvas",
          "text2video": "Waves roll onto a beach at dusk", "speech": "Good morning.",
          "embedding": "Tokens, exactly counted."}
PATHS = {"llm": "/chat/completions", "text2image": "/images/generations", "text2video": "/videos/generations",
         "embedding": "/embeddings", "speech": "/audio/speech"}


def snippets(offer: Offer, base: str) -> list[tuple[str, str]]:
    """(name of the tab, text) of a model at the base URL (ending in /v1); none for a type without a path of ours."""
    if offer.type not in PATHS:
        return []
    body = body_of(offer)
    return [(name, write(offer, base, body)) for name, write in (("curl", _curl), ("Python", _python), ("Node", _node))]


def body_of(offer: Offer) -> dict[str, Any]:
    """A smallest sound request."""
    model, prompt = offer.model, PROMPT[offer.type]
    match offer.type:
        case "llm":
            return {"model": model.slug, "messages": [{"role": "user", "content": prompt}], "stream": True}
        case "text2image":
            return {"model": model.slug, "prompt": prompt, **({"size": model.sizes[0]} if model.sizes else {})}
        case "text2video":
            ratio = {"ratio": model.ratios[0]} if model.ratios else {}
            return {"model": model.slug, "prompt": prompt, "resolution": next(iter(model.price.video_second_u), "720P"),
                    "duration": model.durations[0] if model.durations else 5, **ratio}
        case "speech":
            return {"model": model.slug, "input": prompt, "voice": "alloy"}
        case _:
            return {"model": model.slug, "input": prompt}


def _curl(offer: Offer, base: str, body: dict[str, Any]) -> str:
    text = json.dumps(body, indent=2, ensure_ascii=False).replace("'", "'\\''")
    more = " --output speech.mp3" if offer.type == "speech" else ""
    wait = "-N " if body.get("stream") else ""
    return (f"curl {wait}{base}{PATHS[offer.type]} \\\n  -H \"Authorization: Bearer $SMARTOKEN_API_KEY\" \\\n"
            f"  -H \"Content-Type: application/json\"{more} \\\n  -d '{text}'")


def _arguments(body: dict[str, Any], python: bool) -> str:
    """The fields as arguments, one a line."""
    def value(one: Any) -> str:
        text = json.dumps(one, ensure_ascii=False)
        return text.replace("true", "True").replace("false", "False") if python and one in (True, False) else text
    sign = "=" if python else ": "
    return "".join(f"    {name}{sign}{value(one)},\n" for name, one in body.items())


def _python(offer: Offer, base: str, body: dict[str, Any]) -> str:
    head = (f'import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="{base}", '
            'api_key=os.environ["SMARTOKEN_API_KEY"])\n\n')
    arguments = _arguments(body, python=True)
    match offer.type:
        case "llm":
            return (f"{head}stream = client.chat.completions.create(\n{arguments})\nfor chunk in stream:\n"
                    "    if chunk.choices:\n"
                    '        print(chunk.choices[0].delta.content or "", end="", flush=True)\n')
        case "text2image":
            return f"{head}result = client.images.generate(\n{arguments})\nprint(result.data[0].url)\n"
        case "embedding":
            return f"{head}result = client.embeddings.create(\n{arguments})\nprint(len(result.data[0].embedding))\n"
        case "speech":
            return (f"{head}with client.audio.speech.with_streaming_response.create(\n{arguments}) as answer:\n"
                    '    answer.stream_to_file("speech.mp3")\n')
        case _:
            return (f"{head}# A film takes a minute or three; this call waits for it.\nresult = client.post(\n"
                    f'    "{PATHS[offer.type]}",\n    cast_to=object,\n'
                    f"    body={json.dumps(body, ensure_ascii=False)},\n"
                    "    options={\"timeout\": 600},\n)\nprint(result[\"data\"][0][\"url\"])\n")


def _node(offer: Offer, base: str, body: dict[str, Any]) -> str:
    head = (f'import OpenAI from "openai";\n\nconst client = new OpenAI({{\n  baseURL: "{base}",\n'
            '  apiKey: process.env.SMARTOKEN_API_KEY,\n});\n\n')
    arguments = _arguments(body, python=False).replace("    ", "  ")
    match offer.type:
        case "llm":
            return (f"{head}const stream = await client.chat.completions.create({{\n{arguments}}});\n"
                    "for await (const chunk of stream) {\n"
                    "  process.stdout.write(chunk.choices[0]?.delta?.content ?? \"\");\n}\n")
        case "text2image":
            return (f"{head}const result = await client.images.generate({{\n{arguments}}});\n"
                    "console.log(result.data[0].url);\n")
        case "embedding":
            return (f"{head}const result = await client.embeddings.create({{\n{arguments}}});\n"
                    "console.log(result.data[0].embedding.length);\n")
        case "speech":
            return ('import { writeFile } from "node:fs/promises";\n' + head
                    + f"const answer = await client.audio.speech.create({{\n{arguments}}});\n"
                    'await writeFile("speech.mp3", Buffer.from(await answer.arrayBuffer()));\n')
        case _:
            return (f"{head}// A film takes a minute or three; this call waits for it.\n"
                    f'const result = await client.post("{PATHS[offer.type]}", {{\n'
                    f"  body: {json.dumps(body, ensure_ascii=False)},\n"
                    "  timeout: 600_000,\n});\nconsole.log(result.data[0].url);\n")
