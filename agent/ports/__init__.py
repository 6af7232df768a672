"""What the services need from the world, as Protocols. Concrete classes are named in `agent.assembly` alone.

Instants are aware UTC datetimes; durations are seconds unless the name says otherwise.
"""

from agent.ports.basics import Clock, Pace, Record, Secret
from agent.ports.benefits import (
    Loss,
    MemberBenefits,
    PointsPreview,
    Redeemer,
    Redemption,
    RedemptionRecord,
    RedemptionWish,
)
from agent.ports.bulk import BulkRecord, BulkWriter
from agent.ports.cache import ContactCache, Remember, Seed, Told
from agent.ports.enrolments import Added, EnrolmentRecord, Writer
from agent.ports.feeds import (
    AppliedFile,
    ChangeFeed,
    ChangePage,
    ExportFile,
    ExportReader,
    FilePlan,
    FileSource,
    LocalFile,
    Sweep,
)
from agent.ports.outbox import (
    Acceptance,
    Delivery,
    Guests,
    Occurrence,
    Outgoing,
    QueueInfo,
    Receipt,
    Recipient,
    Settled,
)
from agent.ports.persons import ErasedBefore, ErasedSales, ErasureRequest, Identity, Person, Removed
from agent.ports.replica import AppliedCounts, Batch, LoadProgress, Replica, ReplicaInfo, ReplicaLoader, ReplicaStore
from agent.ports.vendors import Connector, History, Lookup, Seen

__all__ = [
    "Acceptance",
    "Added",
    "AppliedCounts",
    "AppliedFile",
    "Batch",
    "BulkRecord",
    "BulkWriter",
    "ChangeFeed",
    "ChangePage",
    "Clock",
    "Connector",
    "ContactCache",
    "Delivery",
    "EnrolmentRecord",
    "ErasedBefore",
    "ErasedSales",
    "ErasureRequest",
    "ExportFile",
    "ExportReader",
    "FilePlan",
    "FileSource",
    "Guests",
    "History",
    "Identity",
    "LoadProgress",
    "LocalFile",
    "Lookup",
    "Loss",
    "MemberBenefits",
    "Occurrence",
    "Outgoing",
    "Pace",
    "Person",
    "PointsPreview",
    "QueueInfo",
    "Receipt",
    "Recipient",
    "Record",
    "Redeemer",
    "Redemption",
    "RedemptionRecord",
    "RedemptionWish",
    "Remember",
    "Removed",
    "Replica",
    "ReplicaInfo",
    "ReplicaLoader",
    "ReplicaStore",
    "Secret",
    "Seed",
    "Seen",
    "Settled",
    "Sweep",
    "Told",
    "Writer",
]
