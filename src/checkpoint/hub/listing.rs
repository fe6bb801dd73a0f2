//! Which files a repository has, and which of them a checkpoint is made of.

use serde::Deserialize;

use super::HubError;
use super::name::{is_commit, is_relative};
use super::request::{Client, Subject, escaped};
use crate::checkpoint::tensors::LOOKED_FOR;

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn of(client: &Client, repository: &str, revision: &str) -> Result<Self, HubError> {
        let subject = Subject { repository, revision, file: "the list of files" };
        let path = format!("/api/models/{repository}/revision/{}", escaped(revision).replace('/', "%2F"));
        let text = client.text(&path, subject)?;
        let answer: Answer = serde_json::from_str(&text)
            .map_err(|error| subject.bad_answer(format!("is no list of a repository's files: {error}")))?;
        let files: Vec<_> = answer.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        if !is_commit(&answer.sha) {
            return Err(subject.bad_answer(format!("names the commit `{}`", answer.sha)));
        }
        if let Some(file) = files.iter().find(|file| !is_relative(file)) {
            return Err(subject.bad_answer(format!("names the file `{file}`, which would leave its folder")));
        }
        Ok(Self { commit: answer.sha, files })
    }

    /// Configuration, tokenizer and vocabulary: the small files beside the weights.
    pub(super) fn settings(&self) -> Vec<&str> {
        let is_setting = |file: &str| {
            let known = [".json", ".txt", ".model", ".jinja"].iter().any(|end| file.ends_with(end));
            known && !file.contains('/') && !file.ends_with(".index.json")
        };
        self.files.iter().map(String::as_str).filter(|file| is_setting(file)).collect()
    }

    /// The file, or the index of shards, that [`Tensors::open_folder`](crate::checkpoint::Tensors::open_folder) takes.
    pub(super) fn weights(&self) -> Option<&'static str> {
        LOOKED_FOR.into_iter().find(|name| self.files.iter().any(|file| file == name))
    }
}
