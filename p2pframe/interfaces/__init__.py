"""The whole contract, on one page. Every seam of a node is one of these interfaces, one file each.

What plugins implement, by the kind that a config names:

==================  ======================================  =====================================================
kind                interface                               the question that it answers
==================  ======================================  =====================================================
transport           ITransport, IDatagramTransport          how do byte streams, or datagrams, travel?
upgrade             IUpgrade                                what secures or wraps a stream?
protocol            INetworkProtocol                        what do the bytes mean?
validator           IValidator                              is this item good?
item-store          IItemStore                              what do we hold and serve?
discovery           IDiscovery                              where are peers, and how do they find us?
topology            ITopology                               which peers to hold?
relay               IRelayPolicy                            who is told of an item, when, in full or by id?
scoring             IScorer                                 what are the facts worth?
authentication      IAuthenticator                          who is let in?
storage             IStorage                                what survives a crash?
application         IApplication                            what is it for?
==================  ======================================  =====================================================

What core provides to them: IContext (all that a plugin may touch), ISession and ILink (a connection, and one topic
on it), IItems and IScheduler (the way of an item), IAddressBook, INodeView and INodeControl.

A plugin that has live config fields also provides IReconfigurable, one that knows what is used of its bounds IUsage;
one that also provides
`twisted.application.service.IService` is started and stopped with its network; a protocol may
provide IStatus, IInspectable, ISeedNames, IHoldsPeers, IPeerExchange, IRendezvous, IRoutingTables and IVisitor, its
datagram receiver ICountsMessages, and an application IWorkload.
Any plugin may provide IAdminPage, IAlerts and IOverview: what it adds to the web admin.
"""

from __future__ import annotations

from collections.abc import Mapping

from zope.interface.interface import InterfaceClass

from p2pframe.interfaces.admin import Alert, IAdminPage, IAlerts, IOverview, PageTable
from p2pframe.interfaces.application import IApplication
from p2pframe.interfaces.authenticator import IAuthenticator
from p2pframe.interfaces.context import Counter, Entropy, Gauge, IContext, IHostReactor, Metrics
from p2pframe.interfaces.datagram import (
    ICountsMessages,
    IDatagramPort,
    IDatagramReceiver,
    IDatagramTransport,
    IHoldsPeers,
)
from p2pframe.interfaces.discovery import DiscoveryState, IDiscovery, IPeerExchange, ISeedNames
from p2pframe.interfaces.inspect import IInspectable, IInspector, InspectedMessage, InspectedValue
from p2pframe.interfaces.item_store import IItemStore
from p2pframe.interfaces.items import IItems, IScheduler
from p2pframe.interfaces.node import (
    AddressGroups,
    AddressView,
    AgeHolds,
    BoundView,
    DiscoveryStatus,
    Event,
    GroupHolds,
    IAddressBook,
    INodeControl,
    INodeView,
    IReconfigurable,
    IStatus,
    IUsage,
    LogLine,
    NetworkView,
    PluginView,
    SettingView,
    SourceHolds,
    Spread,
    SpreadPeer,
)
from p2pframe.interfaces.protocol import IConversation, INetworkProtocol, TopicRules, Use
from p2pframe.interfaces.relay import IRelayPolicy
from p2pframe.interfaces.rendezvous import IRendezvous
from p2pframe.interfaces.routing import BucketView, IRoutingTables
from p2pframe.interfaces.scorer import IScorer
from p2pframe.interfaces.session import ILink, ISession
from p2pframe.interfaces.storage import IBlob, INamespace, IStorage
from p2pframe.interfaces.story import HeardFact, SessionStory, TopicInventory
from p2pframe.interfaces.topology import ITopology
from p2pframe.interfaces.transport import ITransport, Listener
from p2pframe.interfaces.upgrade import IUpgrade, IUpgradeState, Upgraded
from p2pframe.interfaces.validator import IValidator
from p2pframe.interfaces.visit import IVisitor, Visit
from p2pframe.interfaces.workload import IWorkload

SEAMS: Mapping[str, tuple[InterfaceClass, ...]] = {
    "transport": (ITransport, IDatagramTransport),
    "upgrade": (IUpgrade,),
    "protocol": (INetworkProtocol,),
    "validator": (IValidator,),
    "item-store": (IItemStore,),
    "discovery": (IDiscovery,),
    "topology": (ITopology,),
    "relay": (IRelayPolicy,),
    "scoring": (IScorer,),
    "authentication": (IAuthenticator,),
    "storage": (IStorage,),
    "application": (IApplication,),
}
"""The interfaces of each kind of plugin; a class is of the kind whose interface it implements."""

__all__ = [
    "SEAMS",
    "AddressGroups",
    "AddressView",
    "AgeHolds",
    "Alert",
    "BoundView",
    "BucketView",
    "Counter",
    "DiscoveryState",
    "DiscoveryStatus",
    "Entropy",
    "Event",
    "Gauge",
    "GroupHolds",
    "HeardFact",
    "IAddressBook",
    "IAdminPage",
    "IAlerts",
    "IApplication",
    "IAuthenticator",
    "IBlob",
    "IContext",
    "IConversation",
    "ICountsMessages",
    "IDatagramPort",
    "IDatagramReceiver",
    "IDatagramTransport",
    "IDiscovery",
    "IHoldsPeers",
    "IHostReactor",
    "IInspectable",
    "IInspector",
    "IItemStore",
    "IItems",
    "ILink",
    "INamespace",
    "INetworkProtocol",
    "INodeControl",
    "INodeView",
    "IOverview",
    "IPeerExchange",
    "IReconfigurable",
    "IRelayPolicy",
    "IRendezvous",
    "IRoutingTables",
    "IScheduler",
    "IScorer",
    "ISeedNames",
    "ISession",
    "IStatus",
    "IStorage",
    "ITopology",
    "ITransport",
    "IUpgrade",
    "IUpgradeState",
    "IUsage",
    "IValidator",
    "IVisitor",
    "IWorkload",
    "InspectedMessage",
    "InspectedValue",
    "Listener",
    "LogLine",
    "Metrics",
    "NetworkView",
    "PageTable",
    "PluginView",
    "SessionStory",
    "SettingView",
    "SourceHolds",
    "Spread",
    "SpreadPeer",
    "TopicInventory",
    "TopicRules",
    "Upgraded",
    "Use",
    "Visit",
]
