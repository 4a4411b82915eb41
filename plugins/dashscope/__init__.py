"""Alibaba Cloud Model Studio (DashScope): OpenAI-compatible chat, its own API for pictures and films.

Keys are bound to a region: put the region's base URL on the channel (dashscope-intl, dashscope-us, or a workspace's own
host). Error codes come in lower case here and in CamelCase where the native API shines through. `Arrearage` is a 400.
"""

from smartoken_plugins.dashscope import images, speech, videos

from smartoken.plugin import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Provider, hookimpl

ERRORS = {
    "Arrearage": BROKE,
    "insufficient_quota": COOL,            # its word for a rate in tokens, unlike OpenAI's
    "limit_requests": COOL,
    "limit_burst_rate": COOL,
    "Throttling": COOL,
    "Throttling.RateQuota": COOL,
    "Throttling.AllocationQuota": COOL,
    "Throttling.BurstRate": COOL,
    "invalid_api_key": CREDENTIAL,
    "model_not_found": MISSING,
    "model_not_supported": MISSING,
    "data_inspection_failed": CALLER,
    "invalid_parameter_error": CALLER,
    "internal_error": RETRY,
    # the native API's own spelling
    "InvalidApiKey": CREDENTIAL,
    "AccessDenied.Unpurchased": BROKE,
    "Model.AccessDenied": CREDENTIAL,
    "ModelNotFound": MISSING,
    "InvalidParameter": CALLER,
    "InvalidParameter.DataInspection": CALLER,
    "DataInspectionFailed": CALLER,
    "IPInfringementSuspect": CALLER,
    "LimitRequests": COOL,
    "InternalError": RETRY,
    "InternalError.Timeout": RETRY,
    "InternalError.Algo": RETRY,
    "ModelUnavailable": COOL,
    "SystemError": RETRY,
}


@hookimpl
def smartoken_providers():
    return [Provider("dashscope", title="Alibaba Cloud Model Studio",
                     base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
                     docs="https://help.aliyun.com/zh/model-studio/",
                     speaks={"openai.chat": "/chat/completions", "openai.embeddings": "/embeddings",
                             "openai.images": images.SYNC,
                             "openai.videos": videos.PATH, speech.NAME: speech.PATH},
                     makers={"openai.images": images.MAKER, "openai.videos": videos.MAKER}, errors=ERRORS,
                     voices=speech.VOICES)]


@hookimpl
def smartoken_wires():
    return [speech.WIRE]


@hookimpl
def smartoken_bridges():
    return [speech.BRIDGE]
