//! Why a record is refused: one closed list of codes in order of precedence.
//!
//! `docs/errors.md` lists the same codes in the same order, and a test holds the two together.

use std::fmt;

macro_rules! codes {
    ($($variant:ident = $code:literal, $permanence:ident, $what:literal;)*) => {
        /// A refusal's code. The order of declaration is the order of precedence: the guards run in it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $what] $variant,)* }

        impl Code {
            /// Every code, in order of precedence.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable text of the code.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }

            /// What happened and what to do.
            pub fn advice(self) -> &'static str {
                match self { $(Code::$variant => $what,)* }
            }

            /// Whether the same bytes may be accepted later.
            pub fn is_transient(self) -> bool {
                match self { $(Code::$variant => codes!(@ $permanence),)* }
            }
        }
    };
    (@ transient) => { true };
    (@ permanent) => { false };
}

codes! {
    // The frame of every instruction.
    LedgerNotFounded = "ledger_not_founded", transient, "This service holds no ledger yet; send the founding record first.";
    LedgerFounded = "ledger_founded", permanent, "This ledger is founded already; a second founding is never accepted.";
    FoundingInvalid = "founding_invalid", permanent, "The founding record breaks a rule; see the detail, and sign a corrected one.";
    WrongLedger = "wrong_ledger", permanent, "The instruction is for another ledger; sign it again with this ledger's id.";
    KeyUnknown = "key_unknown", permanent, "The key is not enrolled here; use an enrolled key or have it enrolled by the custodians.";
    KeyNotSigners = "key_not_signers", permanent, "The key belongs to another principal; sign as the key's own principal.";
    InstructionIdReused = "instruction_id_reused", permanent, "You used this id for another instruction; give the new one an id of its own.";
    KeyNotYetValid = "key_not_yet_valid", transient, "The key's enrolment has not taken effect yet; send this again after the policy's delay.";
    KeyRevoked = "key_revoked", permanent, "The key was revoked or its enrolment vetoed; sign with a key that is valid.";
    KeyExpired = "key_expired", permanent, "The key's enrolment was for a time that is over; have another key enrolled by the custodians.";
    KeySpare = "key_spare", transient, "The key is a spare that waits; it signs nothing but its own activation: safeconduct activate.";
    NotAfterInvalid = "not_after_invalid", permanent, "not_after must follow issued_at, by 30 days at most; sign again.";
    Expired = "expired", permanent, "The instruction's not_after has passed; sign it again.";
    IssuedInFuture = "issued_in_future", transient, "issued_at is ahead of the ledger's time by more than the policy's skew; check your clock.";
    BasisUnknown = "basis_unknown", permanent, "The basis is not a checkpoint of this log; verify the present checkpoint and sign again. If it was shown to you as this log's, keep it and tell the auditors.";
    BasisTooOld = "basis_too_old", permanent, "The basis is older than policy allows; verify the present checkpoint and sign again.";
    FoundingIncomplete = "founding_incomplete", transient, "Not every custodian has accepted yet; until then only acceptances are taken.";
    RoleMissing = "role_missing", permanent, "You do not hold a role that may do this.";
    // Custodians.
    AlreadyAccepted = "already_accepted", permanent, "You have accepted already.";
    ProposalUnknown = "proposal_unknown", permanent, "There is no proposal with this digest.";
    ProposalClosed = "proposal_closed", permanent, "The proposal has its quorum, has taken effect, was vetoed or ran out.";
    AlreadyConcurred = "already_concurred", permanent, "You count for this proposal already; another custodian has to concur.";
    KeyNotSpare = "key_not_spare", permanent, "The key is no spare that waits, so there is nothing to activate; it signs as it is.";
    ActInvalid = "act_invalid", permanent, "The act breaks a rule; see the detail.";
    PossessionInvalid = "possession_invalid", permanent, "A key-possession envelope is not signed by the key that it carries, or names another ledger or principal.";
    KeyEnrolled = "key_enrolled", permanent, "The key was enrolled before; a key is enrolled once ever, so make a new one.";
    CustodiansFixed = "custodians_fixed", permanent, "The custodians are those of the founding record; their role cannot be given or taken.";
    ActPending = "act_pending", transient, "Another act on the same thing waits for its delay; wait until it takes effect, or veto it.";
    // Things that are named.
    AssetExists = "asset_exists", permanent, "There is an asset with this id already; choose another.";
    AssetUnknown = "asset_unknown", permanent, "There is no asset with this id; register it first.";
    FundExists = "fund_exists", permanent, "There is a fund with this id, or the asset has its fiduciary fund already.";
    FundUnknown = "fund_unknown", permanent, "There is no fund with this id; open it first.";
    FundWrongKind = "fund_wrong_kind", permanent, "The fund is of the other kind (fiduciary or spendable) than this needs, or of another asset.";
    BankExists = "bank_exists", permanent, "There is a bank account with this id already; choose another.";
    BankUnknown = "bank_unknown", permanent, "There is no bank account with this id; open it first.";
    CurrencyMismatch = "currency_mismatch", permanent, "The amount's currency is not that of the fund, bank account or benefit, or the ledger does not hold it.";
    AmountNotPositive = "amount_not_positive", permanent, "The amount must be above zero.";
    TooManyShares = "too_many_shares", permanent, "An entry takes at most 100 costs, claims or shares; report the rest as a further fact.";
    AmountsDoNotAddUp = "amounts_do_not_add_up", permanent, "The parts exceed the whole; correct the amounts.";
    ValueDateInvalid = "value_date_invalid", permanent, "The date is more than 31 days ahead of the ledger's time; correct it.";
    OfferInvalid = "offer_invalid", permanent, "The offer breaks a rule; see the detail.";
    OfferUnknown = "offer_unknown", permanent, "There is no such version of the offer.";
    CaseExists = "case_exists", permanent, "The case reference or the agency's reference is taken; draw new ones.";
    CaseUnknown = "case_unknown", permanent, "There is no such case.";
    AgencyUnknown = "agency_unknown", permanent, "The agency is not an enrolled principal with the agency's role.";
    CaseNotEligible = "case_not_eligible", permanent, "The case entered before the offer is valid.";
    ScreeningClosed = "screening_closed", permanent, "The screening of this case has ended already.";
    // Disbursements.
    DisbursementExists = "disbursement_exists", permanent, "There is a disbursement with this id already; draw a new one.";
    DisbursementUnknown = "disbursement_unknown", permanent, "There is no such disbursement.";
    ScreeningOpen = "screening_open", transient, "The case is not cleared yet; send this again when the screener has cleared it.";
    ScreeningRefused = "screening_refused", permanent, "The screener refused the case.";
    BenefitUnknown = "benefit_unknown", permanent, "The case's offer has no such benefit or occurrence.";
    AmountNotOffered = "amount_not_offered", permanent, "The amount is not what the offer pays: exactly a cash benefit's amount, at most an in-kind benefit's ceiling.";
    ChannelNotAllowed = "channel_not_allowed", permanent, "Policy does not allow this channel.";
    NoBand = "no_band", permanent, "Policy has no approval band for this amount in this currency.";
    ExpiryInvalid = "expiry_invalid", permanent, "The expiry must be ahead of the ledger's time, within the policy's limit.";
    ObligationExists = "obligation_exists", permanent, "This benefit is requested, owed or paid for this case already.";
    DisbursementExpired = "disbursement_expired", permanent, "The disbursement ran out and cannot be acted on; request it again.";
    RequestDiffers = "request_differs", permanent, "The digest is not that of the disbursement's request; read the disbursement again.";
    WrongStage = "wrong_stage", permanent, "The disbursement is not at the stage that this needs.";
    EffectDiffers = "effect_differs", permanent, "The approved effect differs from the request; read the request again, and approve what it says.";
    PolicyChanged = "policy_changed", permanent, "The policy changed since; read the request again, and approve under the present policy.";
    OwnRequest = "own_request", permanent, "You prepared this request; another person has to approve it.";
    AlreadyApproved = "already_approved", permanent, "You have approved this already, by this or another key; another person has to.";
    SamePerson = "same_person", permanent, "One person may not do this and an earlier step of the same payment.";
    ApprovalsVoid = "approvals_void", permanent, "Approvals no longer count, since a key, a role or the policy changed; cancel the disbursement and request it again.";
    InvoiceTooHigh = "invoice_too_high", permanent, "The invoice exceeds the approved ceiling; request the difference anew.";
    // Reports and reversals.
    ReportUnknown = "report_unknown", permanent, "There is no report with this digest that waits for a further person.";
    AlreadySigned = "already_signed", permanent, "You count for this report already; another person has to countersign.";
    NothingToReverse = "nothing_to_reverse", permanent, "There is no such entry, it was reversed, or it is not the last step of its disbursement.";
    LapseNotDue = "lapse_not_due", permanent, "The state does not call for this lapse.";
    // Limits, last.
    FundBlocked = "fund_blocked", transient, "The fund has a shortfall; nothing can be requested from it until that is covered.";
    BankOverdrawn = "bank_overdrawn", transient, "The fund's account at this bank is overdrawn; nothing can be released from it until that is covered.";
    InsufficientFunds = "insufficient_funds", transient, "More is asked than is free; ask for less, or send this again when more is free.";
    AmountTooLarge = "amount_too_large", permanent, "A balance would exceed what the ledger can hold.";
}

/// A refusal: its code, and the specifics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What exactly, where the code alone does not say it. Never holds a case reference or another's data.
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal with specifics.
    pub fn with(code: Code, detail: impl Into<String>) -> Refusal {
        Refusal { code, detail: Some(detail.into()) }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Refusal {
        Refusal { code, detail: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.code.advice())?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}
