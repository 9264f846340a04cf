"""Single znodes: create, read, write, delete, and their ACLs. See the stub of `zkcoord._core`."""

from zkcoord._core import digest_acl
from zkcoord._core import znode_children as children
from zkcoord._core import znode_create as create
from zkcoord._core import znode_delete as delete
from zkcoord._core import znode_exists as exists
from zkcoord._core import znode_get as get
from zkcoord._core import znode_get_acls as get_acls
from zkcoord._core import znode_set as set
from zkcoord._core import znode_set_acls as set_acls

__all__ = ["children", "create", "delete", "digest_acl", "exists", "get", "get_acls", "set", "set_acls"]
