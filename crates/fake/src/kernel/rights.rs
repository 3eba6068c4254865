//! Who may do what: by privilege, or by the right of a token.

use super::{FakeKernel, Outcome, State};
use crate::objects::Body;
use onebpf_sys::{Errno, Op, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

impl FakeKernel {
    /// This process is in a user namespace, to which the BPF filesystem at `bpffs` delegates rights: without a
    /// [token](onebpf_sys::Kernel::token_create) nothing is made.
    #[must_use]
    pub fn delegating(self, bpffs: impl AsRef<Path>) -> Self {
        self.configure(|config| {
            config.privileged = false;
            config.delegating.insert(bpffs.as_ref().to_owned());
        })
    }

    /// A bpf(2) call that needs privilege, but not where rights are delegated: there it is what is opened by id.
    pub(super) fn bpf<T>(&self, op: Op, call: impl FnOnce(&mut State) -> Outcome<T>) -> Result<T> {
        let by_id = matches!(op, Op::NextId | Op::OpenId);
        self.file(op, |state| {
            let may = state.config.privileged || !(by_id || state.config.delegating.is_empty());
            if may { call(state) } else { Err(Errno::PERM) }
        })
    }

    /// A bpf(2) call that makes something, by privilege or by the right of a token.
    pub(super) fn make<T>(
        &self,
        op: Op,
        token: Option<BorrowedFd<'_>>,
        call: impl FnOnce(&mut State) -> Outcome<T>,
    ) -> Result<T> {
        self.file(op, |state| match token {
            Some(token) => state.objects.token(token).and_then(|()| call(state)),
            None if state.config.privileged => call(state),
            None => Err(Errno::PERM),
        })
    }
}

impl State {
    /// `bpf_token_create`.
    pub(super) fn token(&mut self, bpffs: &Path) -> Outcome<OwnedFd> {
        let known = self.config.at_least(6, 9) && self.tree.is_bpffs(bpffs)?;
        match self.config.privileged {
            _ if !known => Err(Errno::INVAL),
            true => Err(Errno::OPNOTSUPP),
            false if !self.config.delegating.contains(bpffs) => Err(Errno::NOENT),
            false => self.add(Body::Token, 0),
        }
    }
}
