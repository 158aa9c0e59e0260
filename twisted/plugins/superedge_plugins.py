"""Twisted plugins of SuperEdge. Kept free of imports that cost time: twistd reads this on every start."""

from twisted.application.service import ServiceMaker

from superedge.plugin import FilterMaker, ProbeMaker, StoreMaker

superedge_cloud = ServiceMaker(
    "SuperEdge cloud",
    "superedge.tap.cloud",
    "SuperEdge in the cloud: where edge nodes dial in.",
    "superedge-cloud",
)
superedge_edge = ServiceMaker(
    "SuperEdge edge",
    "superedge.tap.edge",
    "SuperEdge on an edge node: tunnel and local API server.",
    "superedge-edge",
)
file_store = StoreMaker("file", "superedge.liteapiserver.stores.file")
sqlite_store = StoreMaker("sqlite", "superedge.liteapiserver.stores.sqlite")
memory_store = StoreMaker("memory", "superedge.liteapiserver.stores.memory")
tcp_probe = ProbeMaker("tcp", "superedge.health.edge.probes.tcp.TCPChecker")
http_probe = ProbeMaker("http", "superedge.health.edge.probes.web.http_checker")
https_probe = ProbeMaker("https", "superedge.health.edge.probes.web.https_checker")
kubelet_probe = ProbeMaker("kubelet", "superedge.health.edge.probes.kubelet.KubeletChecker")
icmp_probe = ProbeMaker("icmp", "superedge.health.edge.probes.icmp.ICMPChecker")
grid_filter = FilterMaker("grid", "superedge.grid.node.filter.create")
