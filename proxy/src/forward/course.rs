//! Which try comes next: the rules of trying again as one small state machine, shared by plain requests and upgrades.

use std::sync::Arc;
use std::time::Duration;

use super::{Failed, Fault, Outcome, Request};
use crate::clock::now_ms;
use crate::observe::RetryReason;
use crate::page::Refusal;
use crate::select::{Tried, pick};
use crate::target::{InFlight, Target};
use crate::view::{ServiceView, SiteView, Spill};

/// Where a request is in its tries. Shared by plain requests and upgrades.
pub(crate) struct Course<'a> {
    active: &'a SiteView,
    /// The site tried now.
    pub(crate) site: &'a SiteView,
    pub(crate) tried: Tried,
    attempts_left: u32,
    died_once: bool,
    nothing_sent: bool,
    /// The budget has paid for a second sending that was not made yet.
    paid: bool,
    /// The origin whose reused connection turned out to be dead: a fresh one is worth a try if nothing else is left.
    stale: Option<Arc<Target>>,
    stale_used: bool,
    /// Why the next try is a retry.
    retry: Option<RetryReason>,
    last: Refusal,
    tries: u32,
    /// The last try that failed, and how.
    failed: Option<(Step, Fault)>,
}

/// The next try.
pub(crate) struct Step {
    pub(crate) target: Arc<Target>,
    /// Only a new connection will do.
    pub(crate) fresh: bool,
    /// How long connecting took, if it was necessary and possible.
    pub(crate) connected_in: Option<Duration>,
    /// The target is at work until this try is over.
    in_flight: Option<InFlight>,
}

impl Step {
    fn new(in_flight: InFlight, fresh: bool) -> Self {
        let target = Arc::clone(in_flight.target());
        Self { target, fresh, connected_in: None, in_flight: Some(in_flight) }
    }
}

impl<'a> Course<'a> {
    pub(crate) fn new(service: &ServiceView, active: &'a SiteView) -> Self {
        Self {
            active,
            site: active,
            tried: Tried::default(),
            attempts_left: service.settings.attempts_max.clamp(1, 7),
            died_once: false,
            nothing_sent: true,
            paid: false,
            stale: None,
            stale_used: false,
            retry: None,
            last: Refusal::NO_ORIGIN,
            tries: 0,
            failed: None,
        }
    }

    pub(crate) fn spilled(&self) -> bool {
        !std::ptr::eq(self.site, self.active)
    }

    /// The next origin to try, or why there is none.
    pub(crate) fn next(&mut self, request: &Request<'a>) -> Result<Step, Refusal> {
        let step = self.within_site();
        self.paid &= step.is_none();
        if step.is_some()
            && let Some(reason) = self.retry.take()
        {
            request.shared.observer.retry(&request.service.name, reason);
        }
        let step = step.or_else(|| self.spill(request)).ok_or(self.last)?;
        self.tries += 1;
        Ok(step)
    }

    fn within_site(&mut self) -> Option<Step> {
        if self.attempts_left > 0
            && !self.tried.is_full()
            && let Some(target) = self.pick(self.site)
        {
            self.attempts_left -= 1;
            return Some(Step::new(target, false));
        }
        if self.stale.is_none() || std::mem::replace(&mut self.stale_used, true) {
            return None;
        }
        if self.retry.is_some() {
            self.retry = Some(RetryReason::Stale);
        }
        let stale = self.stale.take().map(|target| target.begin());
        stale.filter(|at_work| !at_work.target().is_out()).map(|at_work| Step::new(at_work, true))
    }

    /// How a request ended that an origin answered.
    pub(crate) fn answered(&self, request: &Request<'_>, step: &Step, code: u16) -> Outcome {
        Outcome {
            site: Some(Arc::clone(&self.site.site)),
            spilled: self.spilled(),
            origin: Some(Arc::clone(&step.target)),
            tries: self.tries,
            connect: step.connected_in,
            first_byte: Some(request.begun.at.elapsed()),
            fault: None,
            ..Outcome::own(code, false)
        }
    }

    /// How a request ended that no origin answered. Without a failed try, `reason` says why.
    pub(crate) fn given_up(&mut self, code: u16, reason: &'static str) -> Outcome {
        let (step, fault) = match self.failed.take() {
            Some((step, fault)) => (Some(step), fault.as_str()),
            None => (None, reason),
        };
        Outcome {
            connect: step.as_ref().and_then(|step| step.connected_in),
            origin: step.map(|step| step.target),
            tries: self.tries,
            fault: Some(fault),
            ..Outcome::own(code, false)
        }
    }

    fn pick(&mut self, site: &SiteView) -> Option<InFlight> {
        for _ in 0..=site.origins.len() {
            let index = pick(site, &self.tried, now_ms(), |n| fastrand::usize(..n))?;
            let at_work = site.origins[index].target.begin();
            // Whoever takes it out after this sees that it is at work; who did before is seen here.
            if !at_work.target().is_out() {
                self.tried.add(at_work.target());
                return Some(at_work);
            }
        }
        None
    }

    /// One try at the next site that may be read from.
    fn spill(&mut self, request: &Request<'a>) -> Option<Step> {
        if self.spilled() || !self.may_spill(request) {
            return None;
        }
        for site in &request.service.spill_sites {
            if let Some(target) = self.pick(site) {
                // Sending again is charged wherever it goes: what overloads one site must not flood the next.
                if !self.nothing_sent && !self.paid && !request.service.budget.withdraw() {
                    return None;
                }
                request.shared.observer.spill(&request.service.name, &self.active.site, &site.site);
                self.site = site;
                self.attempts_left = 0;
                return Some(Step::new(target, false));
            }
        }
        None
    }

    /// Remembers how the last try failed.
    pub(crate) fn note(&mut self, mut step: Step, fault: Fault) {
        step.in_flight = None;
        self.failed = Some((step, fault));
    }

    /// Takes a failure in. Fails with the page for the client when no other try is allowed.
    pub(crate) fn failed(
        &mut self,
        request: &Request<'_>,
        step: Step,
        failed: &Failed,
    ) -> Result<(), Refusal> {
        self.last = failed.fault.page();
        self.retry = None;
        if failed.reused {
            self.stale = Some(Arc::clone(&step.target));
        }
        self.note(step, failed.fault);
        if !failed.sent {
            self.retry = Some(RetryReason::Connect);
            return Ok(());
        }
        self.nothing_sent = false;
        if failed.answered || !request.client.facts.is_safe() {
            return Err(self.last);
        }
        if failed.fault == Fault::Silent {
            // It may still be at work: within the site nobody is asked twice, another site may be.
            self.attempts_left = 0;
            self.stale = None;
            return Ok(());
        }
        if self.died_once || !request.service.budget.withdraw() {
            self.attempts_left = 0;
            self.stale = None;
            return Ok(());
        }
        self.died_once = true;
        self.paid = true;
        self.retry = Some(RetryReason::Died);
        Ok(())
    }

    /// Whether `spill` allows this request at another site now.
    fn may_spill(&self, request: &Request<'_>) -> bool {
        match request.service.spill {
            Spill::Never => false,
            Spill::Safe => request.client.facts.is_safe(),
            Spill::Any => request.client.facts.is_safe() || self.nothing_sent,
        }
    }
}
