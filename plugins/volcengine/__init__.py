"""Volcengine Ark: OpenAI-compatible chat, Seedream pictures, Seedance films. Overseas (BytePlus) set `base_url`."""

from smartoken_plugins.volcengine import images, videos

from smartoken.plugin import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Provider, hookimpl

ERRORS = {
    "AccountOverdueError": BROKE,
    "AuthenticationError": CREDENTIAL,
    "ModelNotOpen": MISSING,
    "InvalidEndpointOrModel.NotFound": MISSING,
    "RateLimitExceeded": COOL,
    "QuotaExceeded": COOL,
    "ServerOverloaded": COOL,
    "InvalidParameter": CALLER,
    "InputTextSensitiveContentDetected": CALLER,
    "InputImageSensitiveContentDetected": CALLER,
    "OutputImageSensitiveContentDetected": CALLER,
    "OutputVideoSensitiveContentDetected": CALLER,
    "InternalServiceError": RETRY,
}


@hookimpl
def smartoken_providers():
    return [Provider("volcengine", title="Volcengine Ark", base_url="https://ark.cn-beijing.volces.com/api/v3",
                     docs="https://www.volcengine.com/docs/82379",
                     speaks={"openai.chat": "/chat/completions", "openai.images": "/images/generations",
                             "openai.videos": videos.PATH},
                     makers={"openai.images": images.MAKER, "openai.videos": videos.MAKER}, errors=ERRORS)]
