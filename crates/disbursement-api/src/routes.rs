//! The routes: one list, from which the router is built, says of each who may call it.
//!
//! What they take and answer is `docs/api.md`. Handlers only read what a request says, ask the pipeline or a query, and
//! write the answer: what is allowed by the rules is decided elsewhere.

mod agency;
mod bundle;
mod custodians;
mod funds;
mod instructions;
mod log;
mod params;
mod programme;

use axum::routing::{MethodRouter, get, post};
use records::governance::Role;

use crate::app::App;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anybody, unsigned.
    Anybody,
    /// Anybody; the envelopes inside are signed, and judged one by one.
    Signers,
    /// A signed request by a principal who holds one of these roles.
    Roles(&'static [Role]),
}

/// A route.
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Who may call it.
    pub who: Who,
    pub(crate) handler: fn() -> MethodRouter<App>,
}

const ENROLLED: Who = Who::Roles(&Role::ALL);
const OFFICERS: Who = Who::Roles(&[
    Role::Approver,
    Role::Auditor,
    Role::Custodian,
    Role::Director,
    Role::Payer,
    Role::Preparer,
    Role::Reconciler,
    Role::Screener,
    Role::Service,
]);
const MONEY: Who = Who::Roles(&[
    Role::Approver,
    Role::Auditor,
    Role::Custodian,
    Role::Director,
    Role::Payer,
    Role::Preparer,
    Role::Reconciler,
    Role::Service,
]);
const REPORTS: Who = Who::Roles(&[Role::Auditor, Role::Director, Role::Reconciler]);
const CASES: Who = Who::Roles(&[Role::Auditor, Role::Preparer, Role::Screener]);
const CUSTODY: Who = Who::Roles(&[Role::Auditor, Role::Custodian]);
const AUDITORS: Who = Who::Roles(&[Role::Auditor]);
const AGENCIES: Who = Who::Roles(&[Role::Agency]);

const fn reads(path: &'static str, who: Who, handler: fn() -> MethodRouter<App>) -> Route {
    Route { method: "GET", path, who, handler }
}

const fn writes(path: &'static str, handler: fn() -> MethodRouter<App>) -> Route {
    Route { method: "POST", path, who: Who::Signers, handler }
}

/// Every route there is.
pub const ROUTES: &[Route] = &[
    reads("/healthz", Who::Anybody, || get(log::healthz)),
    reads("/v1/service", Who::Anybody, || get(log::service)),
    writes("/v1/instructions", || post(instructions::submit)),
    writes("/v1/instructions/check", || post(instructions::check)),
    reads("/v1/founding", ENROLLED, || get(log::founding)),
    reads("/v1/checkpoint", ENROLLED, || get(log::checkpoint)),
    reads("/v1/proofs/inclusion", ENROLLED, || get(log::inclusion)),
    reads("/v1/proofs/consistency", ENROLLED, || get(log::consistency)),
    reads("/v1/policy", OFFICERS, || get(custodians::policy)),
    reads("/v1/offers", OFFICERS, || get(programme::offers)),
    reads("/v1/funds", MONEY, || get(funds::funds)),
    reads("/v1/funds/{fund}/accounts", MONEY, || get(funds::accounts)),
    reads("/v1/disbursements", MONEY, || get(programme::disbursements)),
    reads("/v1/disbursements/{disbursement}", MONEY, || get(programme::disbursement)),
    reads("/v1/reports", REPORTS, || get(programme::reports)),
    reads("/v1/cases", CASES, || get(programme::cases)),
    reads("/v1/proposals", CUSTODY, || get(custodians::proposals)),
    reads("/v1/principals", CUSTODY, || get(custodians::principals)),
    reads("/v1/records/{position}", AUDITORS, || get(log::record)),
    reads("/v1/bundle", AUDITORS, || get(bundle::bundle)),
    reads("/v1/agency/cases", AGENCIES, || get(agency::cases)),
    reads("/v1/agency/cases/{agency_ref}", AGENCIES, || get(agency::case)),
    reads("/v1/agency/cases/{agency_ref}/statement", AGENCIES, || get(agency::statement)),
];
