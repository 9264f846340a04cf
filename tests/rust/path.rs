use proptest::prelude::*;
use zkcoord::path::{below, chroot, normalise, parents};
use zkcoord::Error;

#[test]
fn paths_are_normalised_as_kazoo_does() {
    for text in ["/a/b", "a/b", "/a/b/", "//a///b//"] {
        assert_eq!(normalise(text).unwrap(), "/a/b", "{text}");
    }
}

#[test]
fn what_cannot_be_a_path_is_refused() {
    for text in [
        "",
        "/",
        "//",
        "/a/../b",
        "..",
        "/a/.",
        "/a\0b",
        "/a\tb",
        "/a\u{7f}",
        "/a\u{e000}b",
        "/a\u{ffff}",
        "/\u{1f4a9}",
    ] {
        assert!(matches!(normalise(text), Err(Error::Argument { argument: "path", .. })), "{text:?}");
    }
}

#[test]
fn dots_within_a_name_are_fine() {
    assert_eq!(normalise("/a..b/.c/...").unwrap(), "/a..b/.c/...");
}

#[test]
fn zookeepers_own_subtree_is_refused_also_by_way_of_a_chroot() {
    for (root, path) in [("", "/zookeeper"), ("", "/zookeeper/config"), ("/zookeeper", "/quota")] {
        assert!(below(root, path).is_err(), "{root} {path}");
    }
    assert_eq!(below("", "/zookeepers").unwrap(), "/zookeepers");
    assert_eq!(below("/app", "/zookeeper").unwrap(), "/app/zookeeper");
}

#[test]
fn an_empty_chroot_is_none() {
    assert_eq!(chroot("/").unwrap(), "");
    assert_eq!(chroot("/a/").unwrap(), "/a");
}

#[test]
fn parents_come_from_the_top() {
    assert_eq!(parents("/a/b/c").collect::<Vec<_>>(), ["/a", "/a/b"]);
    assert_eq!(parents("/a").count(), 0);
}

proptest! {
    #[test]
    fn normalising_is_idempotent(text in "[/.a-c]{0,12}") {
        if let Ok(path) = normalise(&text) {
            prop_assert_eq!(normalise(&path).unwrap(), path.clone());
            prop_assert!(path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
        }
    }

    #[test]
    fn any_text_is_accepted_or_refused(text in ".*") {
        if let Ok(path) = normalise(&text) {
            prop_assert!(!path.chars().any(char::is_control));
            prop_assert!(path.split('/').all(|part| part != "." && part != ".."));
        }
    }
}
