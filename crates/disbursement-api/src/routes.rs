//! The routes: one list, from which the router and its description are built, says of each who may call it.
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
mod public;

use axum::routing::{MethodRouter, get, post};
use records::governance::Role;

use crate::app::App;
use crate::openapi::types::SignedEnvelope;
use crate::openapi::{self, About, Query, list, one, results};

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
    /// Whether a spare key that waits may call it too: only what its owner needs to sign the activation.
    pub spares: bool,
    pub(crate) handler: fn() -> MethodRouter<App>,
    pub(crate) about: About,
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

const fn reads(path: &'static str, who: Who, handler: fn() -> MethodRouter<App>, about: About) -> Route {
    Route { method: "GET", path, who, spares: false, handler, about }
}

const fn writes(path: &'static str, handler: fn() -> MethodRouter<App>, about: About) -> Route {
    Route { method: "POST", path, who: Who::Signers, spares: false, handler, about }
}

/// What it takes to join: for everybody who is enrolled, with a spare that waits too.
const fn joins(path: &'static str, handler: fn() -> MethodRouter<App>, about: About) -> Route {
    Route { spares: true, ..reads(path, ENROLLED, handler, about) }
}

type Answer = fn(&mut openapi::Components) -> serde_json::Value;

const fn says(summary: &'static str, answer: Answer, codes: &'static [&'static str]) -> About {
    About { summary, query: &[], codes, answer, headers: &[] }
}

const fn asks(
    summary: &'static str,
    query: &'static [Query],
    answer: Answer,
    codes: &'static [&'static str],
) -> About {
    About { summary, query, codes, answer, headers: &[] }
}

/// The answer says of when it is.
const fn dated(about: About) -> About {
    About { headers: agency::FRESHNESS, ..about }
}

const PAGE: &[Query] = &[Query::Limit, Query::Cursor];
const SUBMISSION: &[&str] = &[
    "*",
    "register_missing",
    "log_forked",
    "checkpoint_key_unavailable",
    "queue_full",
    "shutting_down",
    "outcome_unknown",
];

/// Every route there is.
pub const ROUTES: &[Route] = &[
    reads(
        "/healthz",
        Who::Anybody,
        || get(log::healthz),
        says("Whether the database answers.", one::<log::Health>, &[]),
    ),
    reads(
        "/v1/openapi.json",
        Who::Anybody,
        || get(log::openapi),
        says("This document.", openapi::document, &[]),
    ),
    reads(
        "/v1/service",
        Who::Anybody,
        || get(log::service),
        says("The ledger's keys and origin, and its id.", one::<log::Service>, &[]),
    ),
    reads(
        "/checkpoint",
        Who::Anybody,
        || get(public::checkpoint),
        says("The checkpoint that is public, as C2SP tlog-tiles.", openapi::text, &["not_public"]),
    ),
    reads(
        "/tile/{*tile}",
        Who::Anybody,
        || get(public::tile),
        says("A hash tile of the public tree.", openapi::bytes, &["not_public"]),
    ),
    reads(
        "/tile/entries/{*entries}",
        AUDITORS,
        || get(public::entries),
        says("An entry bundle of the public tree.", openapi::bytes, &["not_public"]),
    ),
    writes(
        "/v1/instructions",
        || post(instructions::submit),
        says("Submits signed instructions.", results::<instructions::Submission, true>, SUBMISSION),
    ),
    writes(
        "/v1/instructions/check",
        || post(instructions::check),
        says(
            "Whether instructions would be accepted; stores nothing.",
            results::<instructions::Verdict, false>,
            &[],
        ),
    ),
    joins(
        "/v1/founding",
        || get(log::founding),
        says("The founding record.", one::<SignedEnvelope>, &["record_not_found"]),
    ),
    joins(
        "/v1/checkpoint",
        || get(log::checkpoint),
        says("The latest signed checkpoint.", openapi::text, &["no_checkpoint"]),
    ),
    reads(
        "/v1/checkpoint/cosigned",
        ENROLLED,
        || get(log::cosigned),
        says("The latest cosigned checkpoint.", openapi::text, &["not_cosigned"]),
    ),
    reads(
        "/v1/proofs/inclusion",
        ENROLLED,
        || get(log::inclusion),
        asks(
            "That a tree has a record.",
            &[Query::Number("position"), Query::Number("size")],
            one::<log::Inclusion>,
            &["no_checkpoint", "record_not_found", "proof_out_of_range"],
        ),
    ),
    joins(
        "/v1/proofs/consistency",
        || get(log::consistency),
        asks(
            "That a tree extends another.",
            &[Query::Number("from"), Query::Number("to")],
            one::<log::Consistency>,
            &["no_checkpoint", "proof_out_of_range"],
        ),
    ),
    reads(
        "/v1/policy",
        OFFICERS,
        || get(custodians::policy),
        says("The policy in force, and the next.", one::<custodians::PolicyView>, &["ledger_not_founded"]),
    ),
    reads(
        "/v1/offers",
        OFFICERS,
        || get(programme::offers),
        asks("What the programme pays, every version.", PAGE, list::<programme::OfferView>, &[]),
    ),
    reads(
        "/v1/funds",
        MONEY,
        || get(funds::funds),
        asks("Sums and proofs of every fund.", PAGE, list::<funds::FundView>, &[]),
    ),
    reads(
        "/v1/funds/{fund}/accounts",
        MONEY,
        || get(funds::accounts),
        asks("The accounts of a fund.", PAGE, list::<funds::AccountView>, &["fund_unknown"]),
    ),
    reads(
        "/v1/disbursements",
        MONEY,
        || get(programme::disbursements),
        asks(
            "Disbursements, of one stage or all.",
            &[Query::Limit, Query::Cursor, Query::Word("stage", &programme::STAGES)],
            list::<programme::DisbursementView>,
            &["ledger_not_founded"],
        ),
    ),
    reads(
        "/v1/disbursements/{disbursement}",
        MONEY,
        || get(programme::disbursement),
        says(
            "A disbursement.",
            one::<programme::DisbursementView>,
            &["ledger_not_founded", "disbursement_unknown"],
        ),
    ),
    reads(
        "/v1/reports",
        REPORTS,
        || get(programme::reports),
        asks("What was reported of banks and courts.", PAGE, list::<programme::ReportView>, &[]),
    ),
    reads(
        "/v1/cases",
        CASES,
        || get(programme::cases),
        asks(
            "Cases, of one state of screening or all.",
            &[Query::Limit, Query::Cursor, Query::Word("screening", &programme::SCREENINGS)],
            list::<programme::CaseView>,
            &[],
        ),
    ),
    reads(
        "/v1/proposals",
        CUSTODY,
        || get(custodians::proposals),
        asks("What custodians proposed.", PAGE, list::<custodians::ProposalView>, &[]),
    ),
    reads(
        "/v1/principals",
        CUSTODY,
        || get(custodians::principals),
        asks("Who is enrolled, with roles and keys.", PAGE, list::<custodians::PrincipalView>, &[]),
    ),
    reads(
        "/v1/records/{position}",
        AUDITORS,
        || get(log::record),
        says("A record, byte for byte.", one::<SignedEnvelope>, &["record_not_found"]),
    ),
    reads(
        "/v1/bundle",
        AUDITORS,
        || get(bundle::bundle),
        asks(
            "The whole ledger as docs/spec/bundle.md says, or its records from a group on.",
            &[Query::AnyNumber("from")],
            openapi::bundle,
            &["ledger_not_founded", "part_out_of_range", "checkpoint_late", "too_many_bundles"],
        ),
    ),
    reads(
        "/v1/agency/cases",
        AGENCIES,
        || get(agency::cases),
        dated(asks("The agency's own cases.", PAGE, list::<agency::AgencyCaseView>, &["queue_full"])),
    ),
    reads(
        "/v1/agency/cases/{agency_ref}",
        AGENCIES,
        || get(agency::case),
        dated(says(
            "A case, with balances and disbursements.",
            one::<agency::CaseView>,
            &["case_not_found", "queue_full"],
        )),
    ),
    reads(
        "/v1/agency/cases/{agency_ref}/statement",
        AGENCIES,
        || get(agency::statement),
        dated(asks(
            "What happened to a case's disbursements.",
            PAGE,
            list::<agency::LineView>,
            &["case_not_found", "queue_full"],
        )),
    ),
];
