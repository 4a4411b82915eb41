"""Zhipu (bigmodel.cn) and Z.ai (api.z.ai: set it on the channel). A plain key works as bearer.

Errors carry a four-digit code that says more than the status: 1113 (arrears) comes as 429, where no waiting helps.
1303-1305, 1308 and 1310 are UNCONFIRMED; patience is the choice that does least harm. Usage rides on the finish chunk
of a stream unasked.
"""

from smartoken.plugin import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Provider, hookimpl

ERRORS = (
    {str(code): CREDENTIAL for code in range(1000, 1005)}
    | {str(code): BROKE for code in range(1110, 1122)}
    | {str(code): CALLER for code in (1210, 1212, 1213, 1214, 1215, 1301)}
    | {str(code): COOL for code in (1302, 1303, 1304, 1305, 1308, 1310)}
    | {"1211": MISSING, "1220": CREDENTIAL, "1234": RETRY}
)


@hookimpl
def smartoken_providers():
    return [Provider("zhipu", title="Zhipu AI", base_url="https://open.bigmodel.cn/api/paas/v4",
                     docs="https://docs.bigmodel.cn", errors=ERRORS,
                     speaks={"openai.chat": "/chat/completions", "openai.embeddings": "/embeddings"},
                     quirks={"stream_usage": "always"}),
            Provider("zhipu-messages", title="Zhipu AI (Anthropic's wire)", docs="https://docs.bigmodel.cn",
                     base_url="https://open.bigmodel.cn/api/anthropic/v1",
                     speaks={"anthropic.messages": "/messages"}, errors=ERRORS)]
