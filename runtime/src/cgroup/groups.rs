//! Groups below a container's own, that its processes have made: where a further process may be put.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::error::invalid_place;
use super::{Cgroup, Error, file};

/// Which group below the container's own, in each hierarchy: runc's `exec --cgroup`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// By controller; the empty name stands for all hierarchies.
    paths: BTreeMap<String, PathBuf>,
}

impl Groups {
    /// `["PATH"]` for all hierarchies, or `["memory,cpu:PATH", "pids:PATH"]`.
    ///
    /// # Errors
    /// `InvalidSpec` for a controller that is named twice or not at all.
    pub fn parse(words: &[String]) -> Result<Groups, Error> {
        let mut paths = BTreeMap::new();
        for word in words {
            let Some((controllers, path)) = word.split_once(':') else {
                if words.len() > 1 {
                    return Err(invalid_place(word, "needs a controller before it: CONTROLLER:PATH"));
                }
                return Ok(Groups { paths: BTreeMap::from([(String::new(), PathBuf::from(word))]) });
            };
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(invalid_place(word, "has a controller without a name"));
                }
                if paths.insert(controller.to_owned(), PathBuf::from(path)).is_some() {
                    return Err(invalid_place(word, &format!("names the controller {controller} once more")));
                }
            }
        }
        Ok(Groups { paths })
    }

    /// Whether it is the container's own group.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.paths.is_empty()
    }
}

impl Cgroup {
    /// The group below this one that `groups` name. It must be there already.
    ///
    /// # Errors
    /// `InvalidSpec` for a path that leads out of this group, or a controller that is in none of its hierarchies; `Os`
    /// for a group that does not exist.
    pub fn within(&self, groups: &Groups) -> Result<Cgroup, Error> {
        let mut inner = self.clone();
        for (controller, path) in &groups.paths {
            if path.components().any(|part| part == Component::ParentDir) {
                return Err(invalid_place(&path.display().to_string(), "leads out of the container's group"));
            }
            let below = path.strip_prefix("/").unwrap_or(path);
            let mut found = false;
            for hierarchy in &mut inner.hierarchies {
                if controller.is_empty() || hierarchy.has(controller) {
                    hierarchy.path.push(below);
                    must_exist(&hierarchy.path)?;
                    found = true;
                }
            }
            if !found {
                return Err(invalid_place(controller, "is not a controller of the container's group"));
            }
        }
        Ok(inner)
    }
}

fn must_exist(directory: &Path) -> Result<(), Error> {
    file::directory(directory).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Groups, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Groups::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn a_place_is_one_path_or_one_for_each_controller() {
        assert!(parse(&[]).unwrap().is_own());
        assert_eq!(parse(&["a/b"]).unwrap().paths[""], Path::new("a/b"));
        let split = parse(&["cpu,memory:a", "pids:b"]).unwrap();
        assert_eq!((&*split.paths["memory"], &*split.paths["pids"]), (Path::new("a"), Path::new("b")));
        for words in [&["a", "b"][..], &["cpu:a", "b"], &[":a"], &["cpu,:a"], &["cpu:a", "cpu:b"]] {
            let error = parse(words).unwrap_err();
            assert!(error.starts_with("--cgroup "), "{error}");
        }
    }
}
