//! Names that become parts of paths and addresses, and so are checked first.

use super::HubError;

/// Longest part of a repository's name, as the hub has it.
const LONGEST: usize = 96;

pub(super) fn check_repository(repository: &str) -> Result<(), HubError> {
    let bad = |reason| Err(HubError::BadRepository { repository: repository.into(), reason });
    let parts: Vec<_> = repository.split('/').collect();
    let plain = |part: &&str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let edge = |part: &str| part.starts_with(['-', '.']) || part.ends_with(['-', '.']);
    if parts.len() > 2 {
        bad("it has more than one `/`")
    } else if parts.iter().any(|part| part.is_empty() || part.len() > LONGEST) {
        bad("a part of it is empty or longer than 96 characters")
    } else if !parts.iter().all(plain) {
        bad("it has other characters than letters, digits, `-`, `_` and `.`")
    } else if parts.iter().any(|part| edge(part)) || repository.contains("--") || repository.contains("..") {
        bad("a part of it starts or ends with `-` or `.`, or it has `--` or `..`")
    } else {
        Ok(())
    }
}

pub(super) fn check_revision(revision: &str) -> Result<(), HubError> {
    match is_relative(revision) {
        true => Ok(()),
        false => Err(HubError::BadRevision { revision: revision.into() }),
    }
}

/// Whether a path of the hub stays in its folder, on any system.
pub(super) fn is_relative(path: &str) -> bool {
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.ends_with(['.', ' ']);
    let plain = |letter: char| !letter.is_control() && !"\\:?*\"<>|".contains(letter);
    path.split('/').all(sound) && path.chars().all(plain)
}

/// Whether a revision is a commit, which never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_cache_are_refused() {
        for good in ["gpt2", "google-bert/bert-base-uncased", "a/b.c_d"] {
            assert!(check_repository(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b/c", "../a", "a/..", "a//b", "/a", "a\\b", "a b", "a--b", "-a", "a.", "ä/b", "a/b\0"] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
        for good in ["main", "refs/pr/1", "v1.0"] {
            assert!(check_revision(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "../x", "/main", "a//b", "a\nb", "C:x", "a/./b", "a\\b"] {
            assert!(check_revision(bad).is_err(), "{bad}");
        }
        assert!(is_commit(&"0aF".repeat(14)[..40]) && !is_commit("main") && !is_commit(&"g".repeat(40)));
    }
}
