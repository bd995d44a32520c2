"""What an application is told: python evaluate.py URL KEY... prints a JSON object of flags for each key.

The defaults are those that docs/flags.md asks for: without an answer everything is Redis's.
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def main() -> None:
    url, *keys = sys.argv[1:]
    provider = OFREPProvider(url, headers_factory=lambda: {"X-Lockgate-Client": "python"})
    api.set_provider(provider)
    client = api.get_client()
    for key in keys:
        context = EvaluationContext(targeting_key=key, attributes={"partition": 0, "partitions": 16})
        backend = client.get_string_details("QUEUE_BACKEND", "redis", context)
        answer = {
            "key": key,
            "QUEUE_BACKEND": backend.value,
            "reason": str(backend.reason),
            "error": backend.error_message,
            "version": (backend.flag_metadata or {}).get("version"),
            "USE_KAFKA_INGRESS": client.get_boolean_value("USE_KAFKA_INGRESS", False, context),
            "USE_KAFKA_CONSUMERS": client.get_boolean_value("USE_KAFKA_CONSUMERS", False, context),
            "DUAL_WRITE": client.get_boolean_value("DUAL_WRITE", False, context),
        }
        print(json.dumps(answer))


main()
