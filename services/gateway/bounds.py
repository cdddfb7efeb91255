"""The gateway's bounds: each with its unit and the reason for its value."""

from typing import Final

EVENT_BYTES_MAX: Final = 64 * 1024
"""Body of one event, and one item of a batch: a basket of hundreds of lines fits."""
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""Body of a batch after unpacking: about 100 ms of work for one process."""
BATCH_EVENTS_MAX: Final = 10_000
METADATA_BYTES_MAX: Final = 32 * 1024
METADATA_LEVELS_MAX: Final = 8
"""Objects and arrays inside each other, the metadata object itself included."""
LEVELS_READ_MAX: Final = 32
"""How deep the listing of faults looks; what is deeper is a fault by itself."""

EVENT_CHARACTERS_MAX: Final = 300
ID_CHARACTERS_MAX: Final = 128
EXTERNAL_ID_CHARACTERS_MAX: Final = 255
SOURCE_ID_CHARACTERS_MAX: Final = 255
"""It stands in an index of Postgres, whose entries end at 2.7 kB."""
EMAIL_CHARACTERS_MAX: Final = 320
"""64 before the @, 255 after it (RFC 5321)."""
CODE_CHARACTERS_MAX: Final = 255
GOAL_NAME_CHARACTERS_MAX: Final = 300
GOAL_DIGITS_MAX: Final = 15
GOAL_PLACES_MAX: Final = 4
NUMBER_DIGITS_MAX: Final = 34
"""Digits that a decimal128 keeps."""
FAULTS_MAX: Final = 100
"""Faults listed for one event: an answer stays readable."""

AHEAD_SECONDS_MAX: Final = 300
"""How far a producer's clock may be ahead."""
REVISION_WAIT_SECONDS: Final = 2.0
"""How long a request waits for the definitions revision it asks for, which comes in milliseconds
where it exists and the log can be reached."""
DEFINITIONS_AGE_SECONDS_MAX: Final = 60.0
"""Definitions known no better than this are too old to judge by."""

KAFKA_SILENCE_SECONDS_MAX: Final = 10.0
"""After this long without the end of the definitions seen, the process is not ready."""

RECEIVE_SECONDS: Final = 20.0
"""From a request's first moment to the end of its body: 8 MiB at 3.5 Mbit/s."""
HEAD_BYTES_MAX: Final = 64 * 1024
BODIES_BYTES_MAX: Final = 256 * 1024 * 1024
"""Bodies held by one process at a time."""
LINGER_SECONDS: Final = 2.0
"""How long a client that sends too much is listened to, so that it can read why it was cut off."""
LINGER_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 4_000
DESCRIPTORS_BESIDES: Final = 1_000
"""Files and sockets of a process besides its clients' connections."""
REQUESTS_MAX: Final = 2_000
"""Requests under way in one process; beyond it 429."""
KEEP_ALIVE_SECONDS: Final = 60
TURN_SECONDS: Final = 0.005
"""How long one request is worked on before others get a turn."""
AT_ONCE_BYTES_MAX: Final = 256 * 1024
"""Of a batch read in one step: a thousand events, a few milliseconds whatever stands in it."""
SPLIT_COMMAS_MAX: Final = 500_000
"""In a batch taken apart in one step, which makes as many texts at most: about 30 ms."""
BATCH_WORK_SECONDS_MAX: Final = 5.0
"""Work on one batch; ten thousand ordinary events take a tenth of it."""
BATCH_FAULTS_MAX: Final = 1_000
"""Faults listed for one batch; beyond them each refused event names its first: 10 MB of answer."""

IDENTITY_AGE_SECONDS_MAX: Final = 60.0
"""How old what is known of a customer may be: so long known ones get in while Postgres is away."""
IDENTITY_FRESH_SECONDS: Final = 30.0
"""Older than this it is read again beside its use, so that an outage finds it young enough."""
IDENTITIES_KEPT_MAX: Final = 50_000
"""Identifiers of a generation of the cache (two generations are kept): about 30 MB each."""
CUSTOMERS_KEPT_MAX: Final = 16_000
"""Customers as spelled by producers, of a generation of the cache: about 25 MB each."""
CUSTOMER_KEPT_BYTES_MAX: Final = 1024
"""A customer spelled longer than this is read anew each time."""
CLAIMS_MAX: Final = 10_000
"""Customers looked up in one transaction."""
RACES_MAX: Final = 8
"""Attempts to register identifiers that other gateways register at the same moment."""

FORWARD_CONNECTIONS_MAX: Final = 1_024
FORWARD_CONNECT_SECONDS: Final = 2.0
FORWARD_SECONDS: Final = 60.0
"""One forwarded answer between two of its pieces; the api's own waits end at 30 s."""
STOP_SECONDS: Final = 12
"""How long requests under way may take when the process stops: an append at most waits 10 s."""
