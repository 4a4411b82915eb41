"""What a serving process says on stderr: lines for people, or one JSON object a record for machines."""

import json
import logging
import sys
import time

from smartoken.conf import Log

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up(conf: Log) -> None:
    """Send every record of `level` and above to stderr, as `format` says."""
    lines = logging.StreamHandler(sys.stderr)
    as_json = conf.format == "json" or (conf.format == "auto" and not sys.stderr.isatty())
    lines.setFormatter(Json() if as_json else logging.Formatter(TEXT))
    logging.basicConfig(level=conf.level.upper(), handlers=[lines])


class Json(logging.Formatter):
    """{"at", "level", "logger", "text"}, and "trace" where an exception is told; `at` is UTC."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"at": f"{at}.{int(record.msecs):03}Z", "level": record.levelname.lower(), "logger": record.name,
                "text": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
