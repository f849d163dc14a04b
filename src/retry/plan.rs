//! What a call goes by from its first failure to its end, and the token that it pays with.

use super::{
    backoff::{Backoff, BackoffFn},
    budget::RetryBudget,
    settings::{BudgetSettings, GivenByCode, RetrySettings},
};
use crate::sync::Arc;

/// The settings of a retry, ready for use. Calls that have begun to fail go on by the plan that they have.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: RetrySettings,
    pub(super) backoff: Backoff,
    /// `None`: nothing bounds the retries.
    pub(super) budget: Option<RetryBudget>,
}

/// What code has given, and no settings change.
#[derive(Clone, Debug, Default)]
pub(super) struct CodeParts {
    pub(super) backoff: Option<BackoffFn>,
    pub(super) budget: Option<RetryBudget>,
}

impl CodeParts {
    pub(super) fn given(&self) -> GivenByCode {
        GivenByCode { backoff: self.backoff.is_some(), budget: self.budget.is_some() }
    }
}

impl Plan {
    /// The bucket is that of the policy, whatever it is.
    pub(super) fn new(settings: RetrySettings, code: &CodeParts, bucket: &RetryBudget) -> Self {
        let backoff = match &code.backoff {
            Some(custom) => Backoff::Custom(custom.clone()),
            None => settings.backoff.unwrap_or_default().into(),
        };
        let is_unlimited = matches!(settings.budget, Some(BudgetSettings::Unlimited));
        Self { settings, backoff, budget: (!is_unlimited).then(|| bucket.clone()) }
    }
}

/// The token that a call has paid for one retry, if it has paid one. Dropped before that retry is sent, it is given
/// back.
#[derive(Debug, Default)]
pub(crate) struct PaidToken {
    state: TokenState,
    /// The plan of the call, with the budget that tokens are taken from. A call that never fails has none.
    plan: Option<Arc<Plan>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum TokenState {
    #[default]
    None,
    /// Its retry is not sent yet.
    Reserved,
    /// Its retry was sent: the load that the token stands for is real.
    Sent,
}

impl PaidToken {
    /// The plan of the call, if it has failed before.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_deref()
    }

    /// The call has failed for the first time, and goes on by this plan.
    pub(super) fn set_plan(&mut self, plan: Arc<Plan>) {
        self.plan = Some(plan);
    }

    fn budget(&self) -> Option<&RetryBudget> {
        self.plan()?.budget.as_ref()
    }

    /// Takes a token from the budget, if there is one. Where nothing bounds the retries, none is needed.
    pub(super) fn take(&mut self) -> bool {
        let Some(budget) = self.budget() else { return true };
        let is_taken = budget.withdraw();
        if is_taken {
            self.state = TokenState::Reserved;
        }
        is_taken
    }

    /// The retry is sent.
    #[inline]
    pub(crate) fn mark_sent(&mut self) {
        if self.state == TokenState::Reserved {
            self.state = TokenState::Sent;
        }
    }

    /// The retry was sent and has failed: its token is gone.
    pub(super) fn forfeit(&mut self) {
        self.state = TokenState::None;
    }

    /// The retry has succeeded, or never reached the dependency.
    pub(super) fn refund(&mut self) {
        if let (TokenState::Reserved | TokenState::Sent, Some(budget)) = (self.state, self.budget()) {
            budget.refund();
            self.state = TokenState::None;
        }
    }
}

impl Drop for PaidToken {
    #[inline]
    fn drop(&mut self) {
        if self.state == TokenState::Reserved {
            self.refund();
        }
    }
}
