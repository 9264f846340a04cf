"""A Ganeti configuration: as little as ganeti-confd 3.0 reads, and something for each type of request to find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_NODE = "a0000000-0000-4000-8000-{:012}"
_INSTANCE = "b0000000-0000-4000-8000-{:012}"
_DISK = "d0000000-0000-4000-8000-{:012}"
_NIC = "f0000000-0000-4000-8000-{:012}"
_GROUP = "90000000-0000-4000-8000-000000000001"
_DOMAIN = "example.com"
VERSION = 3000000


def node_name(number: int) -> str:
    """Return the name of a node, counted from 1."""
    return f"node{number}.{_DOMAIN}"


def configuration(addresses: Sequence[str], serial: int, master: int) -> dict[str, Any]:
    """Return the content of ``config.data``.

    The first nodes are the master candidates, at `addresses`. After them come a regular, an offline and a drained one.
    Of three instances the first has a DRBD disk on the first two nodes, the second has addresses on two links, and the
    third has no address.

    :param addresses: the addresses of the master candidates
    :param serial: the serial of the cluster's configuration
    :param master: the number of the master node, counted from 1
    """
    candidates = [_node(number, address) for number, address in enumerate(addresses, 1)]
    others: tuple[dict[str, object], ...] = ({}, {"offline": True}, {"drained": True})
    rest = [
        {**_node(number, f"192.0.2.{100 + number}"), "master_candidate": False, **state}
        for number, state in enumerate(others, len(candidates) + 1)
    ]
    nodes = {node["uuid"]: node for node in (*candidates, *rest)}
    second = min(2, len(candidates))
    return {
        "version": VERSION,
        "serial_no": serial,
        "ctime": 0,
        "mtime": 0,
        "cluster": _whole(serial, _NODE.format(master)),
        "nodegroups": {_GROUP: _group()},
        "nodes": nodes,
        "instances": {it["uuid"]: it for it in _instances(second)},
        "networks": {},
        "filters": {},
        "disks": {_DISK.format(1): _disk(second)},
    }


def _whole(serial: int, master: str) -> dict[str, Any]:
    lists = ("tcpudp_port_pool", "reserved_lvs", "uid_pool", "hidden_os", "blacklisted_os")
    mappings = ("os_hvp", "osparams", "osparams_private_cluster", "diskparams", "default_iallocator_params")
    texts = ("file_storage_dir", "shared_file_storage_dir", "gluster_storage_dir", "rsahostkeypub", "install_image")
    flags = ("use_external_mip_script", "modify_etc_hosts", "modify_ssh_setup", "maintain_node_health")
    return {
        **{name: [] for name in lists},
        **{name: {} for name in (*mappings, "candidate_certs")},
        **dict.fromkeys((*texts, "instance_communication_network", "zeroing_image"), ""),
        **dict.fromkeys((*flags, "prealloc_wipe_disks", "enabled_user_shutdown"), False),
        "serial_no": serial,
        "uuid": "c0000000-0000-4000-8000-000000000000",
        "cluster_name": f"cluster.{_DOMAIN}",
        "master_node": master,
        "master_ip": "192.0.2.1",
        "master_netdev": "lo",
        "master_netmask": 32,
        "primary_ip_family": 2,
        "tags": ["plain", "café"],
        "enabled_hypervisors": ["fake"],
        "hvparams": {"fake": {}},
        "beparams": {"default": _BACKEND},
        "nicparams": {"default": {"mode": "bridged", "link": "br0", "vlan": ""}},
        "ndparams": _NODE_PARAMETERS,
        "ipolicy": _POLICY,
        "highest_used_port": 11000,
        "mac_prefix": "aa:00:00",
        "candidate_pool_size": 10,
        "default_iallocator": "hail",
        "enabled_disk_templates": ["drbd", "plain", "diskless"],
        "max_running_jobs": 20,
        "max_tracked_jobs": 25,
        "compression_tools": ["gzip"],
        "ssh_key_type": "rsa",
        "ssh_key_bits": 2048,
        "data_collectors": {"drbd": {"active": False, "interval": 7_000_000}},
    }


_BACKEND = {
    "minmem": 128,
    "maxmem": 128,
    "vcpus": 1,
    "auto_balance": True,
    "always_failover": False,
    "spindle_use": 1,
}
_NODE_PARAMETERS = {
    "oob_program": "",
    "spindle_count": 1,
    "exclusive_storage": False,
    "ovs": False,
    "ovs_name": "s",
    "ovs_link": "",
    "ssh_port": 22,
    "cpu_speed": 1.0,
}
_SIZES = ("memory-size", "disk-size", "disk-count", "cpu-count", "nic-count", "spindle-use")
_POLICY = {
    "minmax": [{"min": dict.fromkeys(_SIZES, 1), "max": dict.fromkeys(_SIZES, 9)}],
    "std": dict.fromkeys(_SIZES, 1),
    "spindle-ratio": 32.0,
    "vcpu-ratio": 4.0,
    "disk-templates": ["drbd", "plain", "diskless"],
}


def _group() -> dict[str, Any]:
    empty: dict[str, Any] = {"ndparams": {}, "ipolicy": {}, "diskparams": {}, "networks": {}}
    return {"uuid": _GROUP, "serial_no": 1, "name": "default", "alloc_policy": "preferred", **empty}


def _node(number: int, address: str) -> dict[str, Any]:
    return {
        "uuid": _NODE.format(number),
        "serial_no": 100 + number,
        "name": node_name(number),
        "primary_ip": address,
        "secondary_ip": address,
        "master_candidate": True,
        "offline": False,
        "drained": False,
        "group": _GROUP,
        "master_capable": True,
        "vm_capable": True,
        "ndparams": {},
        "powered": True,
    }


def _instances(second: int) -> list[dict[str, Any]]:
    def instance(number: int, node: int, state: str, **more: object) -> dict[str, Any]:
        return {
            "uuid": _INSTANCE.format(number),
            "serial_no": 200 + number,
            "name": f"inst{number}.{_DOMAIN}",
            "primary_node": _NODE.format(node),
            "os": "noop",
            "hypervisor": "fake",
            "admin_state": state,
            "admin_state_source": "admin",
            "disks_active": state == "up",
            **more,
        }

    def nic(number: int, address: str, **parameters: str) -> dict[str, Any]:
        mac = f"aa:00:00:00:00:{number:02x}"
        return {"uuid": _NIC.format(number), "mac": mac, "ip": address, "nicparams": parameters}

    nics = [nic(1, "198.51.100.1")], [nic(2, "198.51.100.2"), nic(3, "203.0.113.7", link="br1")]
    return [
        instance(1, 1, "up", disks=[_DISK.format(1)], nics=nics[0]),
        instance(2, second, "down", nics=nics[1]),
        instance(3, 1, "up"),
    ]


def _disk(second: int) -> dict[str, Any]:
    return {
        "uuid": _DISK.format(1),
        "serial_no": 1,
        "dev_type": "drbd",
        "size": 1024,
        "logical_id": [_NODE.format(1), _NODE.format(second), 11000, 3, 5, "drbdsecret"],
    }
