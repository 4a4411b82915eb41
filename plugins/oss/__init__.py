"""Media in Alibaba Cloud OSS: `[media] url = "oss://bucket"`, the rest in [plugins.oss].

    region = "cn-hangzhou"                          needed
    access_key_id = "env:OSS_ACCESS_KEY_ID"         references, read anew every minute, so that a file may be rotated
    access_key_secret = "env:OSS_ACCESS_KEY_SECRET"
    security_token = ""                             for STS credentials, beside the two above
    ram_role = ""                                   a role of this ECS instance instead of the three above
    internal = false                                upload through the region's VPC endpoint
    endpoint = ""                                   another endpoint for uploads, such as an acceleration domain
    public = ""                                     your own domain (CNAME) of the bucket: https://media.example.com
    sign_for_s = 0                                  0: plain links, for a bucket that anybody may read; else signed
                                                    ones, made anew at each answer, good for so long (7 days at most)
    acl = ""                                        "public-read" makes each object so, whatever the bucket is
    prefix = "media"                                in front of every key
    threads = 8                                     uploads and downloads at a time
    signature = "v4"                                or "v1", for servers that know no other
"""

from typing import Annotated, Literal

from pydantic import Field

from smartoken.plugin import ConfigError, Flag, PluginConf, Whole, hookimpl


class Conf(PluginConf):
    region: str = ""
    access_key_id: str = "env:OSS_ACCESS_KEY_ID"
    access_key_secret: str = "env:OSS_ACCESS_KEY_SECRET"
    security_token: str = ""
    ram_role: str = ""
    internal: Flag = False
    endpoint: str = ""
    public: str = ""
    sign_for_s: Annotated[Whole, Field(ge=0, le=604_800)] = 0
    acl: Literal["", "private", "public-read"] = ""
    prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$")] = "media"
    threads: Annotated[Whole, Field(ge=1, le=64)] = 8
    signature: Literal["v1", "v4"] = "v4"


conf = Conf()


def open_oss(url: str):
    """The Media of an `oss:` URL, not yet opened."""
    from smartoken_plugins.oss.media import OssMedia

    bucket = url.removeprefix("oss://").rstrip("/")
    if not bucket or "/" in bucket or "?" in bucket:
        raise ConfigError(f"media url {url!r}: write oss://bucket, and everything else into [plugins.oss]")
    if not conf.region:
        raise ConfigError("[plugins.oss]: 'region' is needed, such as cn-hangzhou")
    return OssMedia(bucket, conf)


@hookimpl
def smartoken_adapters():
    return {"media": {"oss": open_oss}}
