//! The chart of accounts: a closed list in three planes. An account's text form is its code and its qualifiers, and is
//! the only form in which it is stored, signed or sent.

use std::fmt;
use std::str::FromStr;

use crate::id::{AllotmentId, AssetId, BankId, BodyId, DisbursementId, VendorId};
use crate::text::serde_as_text;

/// A text that names no account of the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such account in the chart")]
pub struct AccountError;

/// One of the three sets of accounts that balance by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    /// What is owned, owed, earned and spent.
    Proprietary,
    /// What may be spent.
    Budget,
    /// What the law has frozen elsewhere.
    Memo,
}

/// A side of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The left side.
    Debit,
    /// The right side.
    Credit,
}

/// What an account's balance may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The amount on the normal side is never less than what is held of it, nor that less than nothing.
    NotBelowHeld,
    /// Either side.
    Unlimited,
}

/// What is owed to us; never spendable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receivable {
    /// By whoever received a payment.
    Disbursement(DisbursementId),
    /// By a vendor.
    Vendor(VendorId),
    /// By a bank.
    Depository(BankId),
    /// Out of an asset's proceeds, for what keeping it cost.
    AssetCosts(AssetId),
}

/// What was handed out and is still ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Advance {
    /// An agent's float.
    Agent(VendorId),
    /// A prepayment to a vendor.
    Vendor(VendorId),
    /// An imprest.
    Imprest(VendorId),
}

/// What we owe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payable {
    /// On a disbursement.
    Disbursement(DisbursementId),
    /// To a vendor.
    Vendor(VendorId),
    /// To the owner of an asset that a court ordered returned.
    Owner(AssetId),
    /// To a claimant with priority over the forfeiture.
    Claimant(BodyId),
    /// For costs of the forfeiture.
    Cost(BodyId),
    /// To another body with a share.
    OtherBody(BodyId),
}

/// Who was told to pay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// A bank, out of our account there.
    Bank(BankId),
    /// An agent, out of its float.
    Agent(VendorId),
}

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$kind_doc:meta])* $kind:ident $code:literal $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$kind_doc])* $kind,)+
        }

        impl $name {
            /// All of them, in the order of their codes.
            pub const EVERY: &'static [Self] = &[$(Self::$kind),+];

            /// The account's code.
            pub fn code(self) -> u16 {
                match self {
                    $(Self::$kind => $code,)+
                }
            }

            /// The kind in words.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)+
                }
            }

            fn from_code(code: &str) -> Option<Self> {
                match code {
                    $(stringify!($code) => Some(Self::$kind),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Kinds of income.
    Income {
        /// Net proceeds of a final forfeiture.
        Forfeiture 4101 "forfeiture",
        /// Our share of income from an asset that stays where it is.
        Windfall 4102 "windfall",
        /// Interest that the law gives the fund.
        Interest 4103 "interest",
        /// What is owed back after fraud or overpayment.
        Recovery 4104 "recovery",
        /// Donated goods.
        InKind 4105 "in kind",
        /// From another fund.
        TransferIn 4106 "transfer in",
        /// Expense of a closed year that fell away.
        PriorYear 4107 "prior year",
        /// Gain on bought currency.
        FxGain 4108 "exchange gain",
    }
}

kinds! {
    /// Kinds of expense.
    Expense {
        /// What is paid to defectors.
        Benefit 5101 "benefit",
        /// What banks keep.
        BankFee 5102 "bank fee",
        /// Loss on bought currency.
        FxLoss 5103 "exchange loss",
        /// Foreign debts at the year's end.
        FxUnrealised 5104 "unrealised exchange loss",
        /// Forfeited money that a court ordered returned.
        ReturnToOwner 5105 "return to owner",
        /// Interest on it.
        InterestToOwner 5106 "interest to owner",
        /// To another fund.
        TransferOut 5107 "transfer out",
        /// A receivable given up.
        WriteOff 5108 "write-off",
        /// Cost of keeping an asset that was never repaid.
        CustodyCost 5109 "custody cost",
        /// Donated goods given away.
        InKind 5110 "in kind",
    }
}

/// An account of the chart. Variants are in the order of their codes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// 1100: cash of spendable funds, and of receipts that nobody can place.
    Cash(BankId),
    /// 1150: cash that we hold for whoever will turn out to own it.
    CustodyCash(BankId),
    /// 1200: owed to us.
    Receivable(Receivable),
    /// 1300: handed out and still ours.
    Advance(Advance),
    /// 2100: owed by us.
    Payable(Payable),
    /// 2200: sent and not yet confirmed.
    Outstanding(Via),
    /// 2300: the owner's claim to an asset in custody.
    OwnerClaim(AssetId),
    /// 2500: receipts that nobody can place.
    Suspense(BankId),
    /// 2600: taken by facts beyond the cash that was free.
    Overdrawn(BankId),
    /// 3100: the result of closed years.
    NetAssets,
    /// 4101 to 4108.
    Income(Income),
    /// 5101 to 5110.
    Expense(Expense),
    /// 6100: the other leg of what is held or owed in a foreign currency.
    Position,
    /// 7100: all that the fund was given and has not closed as paid.
    Resources,
    /// 7200: not yet set aside.
    Unallotted,
    /// 7210: may be spent.
    Available(AllotmentId),
    /// 7300: approved, not yet due.
    Obligated,
    /// 7400: due, not yet settled.
    Accrued,
    /// 7500: settled this year.
    Paid,
    /// 7900: used but no longer backed.
    Shortfall,
    /// 8100: frozen at a third party.
    Restrained(AssetId),
    /// 8200: income retained by a third party.
    Retained(AssetId),
    /// 8900: the other leg of both.
    Contra,
}

impl Account {
    /// The four-digit code.
    pub fn code(&self) -> u16 {
        match self {
            Self::Cash(_) => 1100,
            Self::CustodyCash(_) => 1150,
            Self::Receivable(_) => 1200,
            Self::Advance(_) => 1300,
            Self::Payable(_) => 2100,
            Self::Outstanding(_) => 2200,
            Self::OwnerClaim(_) => 2300,
            Self::Suspense(_) => 2500,
            Self::Overdrawn(_) => 2600,
            Self::NetAssets => 3100,
            Self::Income(kind) => kind.code(),
            Self::Expense(kind) => kind.code(),
            Self::Position => 6100,
            Self::Resources => 7100,
            Self::Unallotted => 7200,
            Self::Available(_) => 7210,
            Self::Obligated => 7300,
            Self::Accrued => 7400,
            Self::Paid => 7500,
            Self::Shortfall => 7900,
            Self::Restrained(_) => 8100,
            Self::Retained(_) => 8200,
            Self::Contra => 8900,
        }
    }

    /// For people to read.
    pub fn name(&self) -> String {
        match self {
            Self::Cash(bank) => format!("cash at {bank}"),
            Self::CustodyCash(bank) => format!("custody cash at {bank}"),
            Self::Receivable(Receivable::Disbursement(id)) => format!("receivable on disbursement {id}"),
            Self::Receivable(Receivable::Vendor(id)) => format!("receivable from vendor {id}"),
            Self::Receivable(Receivable::Depository(id)) => format!("receivable from depository {id}"),
            Self::Receivable(Receivable::AssetCosts(id)) => format!("receivable for costs of asset {id}"),
            Self::Advance(Advance::Agent(id)) => format!("float of agent {id}"),
            Self::Advance(Advance::Vendor(id)) => format!("prepayment to vendor {id}"),
            Self::Advance(Advance::Imprest(id)) => format!("imprest of {id}"),
            Self::Payable(Payable::Disbursement(id)) => format!("payable on disbursement {id}"),
            Self::Payable(Payable::Vendor(id)) => format!("payable to vendor {id}"),
            Self::Payable(Payable::Owner(id)) => format!("payable to owner of asset {id}"),
            Self::Payable(Payable::Claimant(id)) => format!("payable to claimant {id}"),
            Self::Payable(Payable::Cost(id)) => format!("payable for costs to {id}"),
            Self::Payable(Payable::OtherBody(id)) => format!("payable to other body {id}"),
            Self::Outstanding(Via::Bank(id)) => format!("outstanding at bank {id}"),
            Self::Outstanding(Via::Agent(id)) => format!("outstanding at agent {id}"),
            Self::OwnerClaim(id) => format!("owner's claim to asset {id}"),
            Self::Suspense(bank) => format!("suspense at {bank}"),
            Self::Overdrawn(bank) => format!("overdrawn at {bank}"),
            Self::NetAssets => "net assets".to_owned(),
            Self::Income(kind) => format!("income: {}", kind.word()),
            Self::Expense(kind) => format!("expense: {}", kind.word()),
            Self::Position => "currency position".to_owned(),
            Self::Resources => "resources".to_owned(),
            Self::Unallotted => "unallotted".to_owned(),
            Self::Available(allotment) => format!("available in {allotment}"),
            Self::Obligated => "obligated".to_owned(),
            Self::Accrued => "accrued".to_owned(),
            Self::Paid => "paid".to_owned(),
            Self::Shortfall => "shortfall".to_owned(),
            Self::Restrained(id) => format!("restrained: asset {id}"),
            Self::Retained(id) => format!("retained: asset {id}"),
            Self::Contra => "memo contra".to_owned(),
        }
    }

    /// The plane that the account belongs to.
    pub fn plane(&self) -> Plane {
        match self.code() {
            ..7000 => Plane::Proprietary,
            7000..8000 => Plane::Budget,
            8000.. => Plane::Memo,
        }
    }

    /// The side on which the account grows. A position can be either and is counted on the debit side.
    pub fn normal_side(&self) -> Side {
        match self {
            Self::Cash(_) | Self::CustodyCash(_) | Self::Receivable(_) | Self::Advance(_) => Side::Debit,
            Self::Expense(_) | Self::Position => Side::Debit,
            Self::Resources | Self::Shortfall => Side::Debit,
            Self::Restrained(_) | Self::Retained(_) => Side::Debit,
            Self::Payable(_) | Self::Outstanding(_) | Self::OwnerClaim(_) | Self::Suspense(_) => Side::Credit,
            Self::Overdrawn(_) | Self::NetAssets | Self::Income(_) => Side::Credit,
            Self::Unallotted | Self::Available(_) | Self::Obligated | Self::Accrued | Self::Paid => {
                Side::Credit
            }
            Self::Contra => Side::Credit,
        }
    }

    /// What the balance may not do.
    pub fn limit(&self) -> Limit {
        match self {
            Self::Suspense(_) | Self::NetAssets | Self::Income(_) | Self::Expense(_) => Limit::Unlimited,
            Self::Position | Self::Contra => Limit::Unlimited,
            Self::Cash(_) | Self::CustodyCash(_) | Self::Receivable(_) | Self::Advance(_) => {
                Limit::NotBelowHeld
            }
            Self::Payable(_) | Self::Outstanding(_) | Self::OwnerClaim(_) => Limit::NotBelowHeld,
            Self::Overdrawn(_) | Self::Resources | Self::Unallotted | Self::Available(_) => {
                Limit::NotBelowHeld
            }
            Self::Obligated | Self::Accrued | Self::Paid | Self::Shortfall => Limit::NotBelowHeld,
            Self::Restrained(_) | Self::Retained(_) => Limit::NotBelowHeld,
        }
    }

    /// Whether money can be reserved on it: cash and advances for what was sent, available for what was requested.
    pub fn may_hold(&self) -> bool {
        matches!(self, Self::Cash(_) | Self::Advance(_) | Self::Available(_))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())?;
        let one = |f: &mut fmt::Formatter<'_>, id: &dyn fmt::Display| write!(f, "/{id}");
        let two = |f: &mut fmt::Formatter<'_>, word: &str, id: &dyn fmt::Display| write!(f, "/{word}/{id}");
        match self {
            Self::Cash(id) | Self::CustodyCash(id) | Self::Suspense(id) | Self::Overdrawn(id) => one(f, id),
            Self::OwnerClaim(id) | Self::Restrained(id) | Self::Retained(id) => one(f, id),
            Self::Available(id) => one(f, id),
            Self::Receivable(Receivable::Disbursement(id)) => two(f, "disbursement", id),
            Self::Receivable(Receivable::Vendor(id)) => two(f, "vendor", id),
            Self::Receivable(Receivable::Depository(id)) => two(f, "depository", id),
            Self::Receivable(Receivable::AssetCosts(id)) => two(f, "asset-costs", id),
            Self::Advance(Advance::Agent(id)) => two(f, "agent", id),
            Self::Advance(Advance::Vendor(id)) => two(f, "vendor", id),
            Self::Advance(Advance::Imprest(id)) => two(f, "imprest", id),
            Self::Payable(Payable::Disbursement(id)) => two(f, "disbursement", id),
            Self::Payable(Payable::Vendor(id)) => two(f, "vendor", id),
            Self::Payable(Payable::Owner(id)) => two(f, "owner", id),
            Self::Payable(Payable::Claimant(id)) => two(f, "claimant", id),
            Self::Payable(Payable::Cost(id)) => two(f, "cost", id),
            Self::Payable(Payable::OtherBody(id)) => two(f, "other-body", id),
            Self::Outstanding(Via::Bank(id)) => two(f, "bank", id),
            Self::Outstanding(Via::Agent(id)) => two(f, "agent", id),
            Self::NetAssets | Self::Income(_) | Self::Expense(_) | Self::Position | Self::Contra => Ok(()),
            Self::Resources | Self::Unallotted | Self::Obligated => Ok(()),
            Self::Accrued | Self::Paid | Self::Shortfall => Ok(()),
        }
    }
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        let mut parts = text.split('/');
        let shape = (parts.next().unwrap_or_default(), parts.next(), parts.next(), parts.next());
        match shape {
            (code, None, None, None) => plain(code),
            (code, Some(only), None, None) => qualified(code, only),
            (code, Some(word), Some(name), None) => qualified_twice(code, word, name),
            _ => None,
        }
        .ok_or(AccountError)
    }
}

fn plain(code: &str) -> Option<Account> {
    Some(match code {
        "3100" => Account::NetAssets,
        "6100" => Account::Position,
        "7100" => Account::Resources,
        "7200" => Account::Unallotted,
        "7300" => Account::Obligated,
        "7400" => Account::Accrued,
        "7500" => Account::Paid,
        "7900" => Account::Shortfall,
        "8900" => Account::Contra,
        _ => match Income::from_code(code) {
            Some(kind) => Account::Income(kind),
            None => Account::Expense(Expense::from_code(code)?),
        },
    })
}

fn id<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn qualified(code: &str, name: &str) -> Option<Account> {
    Some(match code {
        "1100" => Account::Cash(id(name)?),
        "1150" => Account::CustodyCash(id(name)?),
        "2300" => Account::OwnerClaim(id(name)?),
        "2500" => Account::Suspense(id(name)?),
        "2600" => Account::Overdrawn(id(name)?),
        "7210" => Account::Available(id(name)?),
        "8100" => Account::Restrained(id(name)?),
        "8200" => Account::Retained(id(name)?),
        _ => return None,
    })
}

fn qualified_twice(code: &str, word: &str, name: &str) -> Option<Account> {
    Some(match (code, word) {
        ("1200", "disbursement") => Account::Receivable(Receivable::Disbursement(id(name)?)),
        ("1200", "vendor") => Account::Receivable(Receivable::Vendor(id(name)?)),
        ("1200", "depository") => Account::Receivable(Receivable::Depository(id(name)?)),
        ("1200", "asset-costs") => Account::Receivable(Receivable::AssetCosts(id(name)?)),
        ("1300", "agent") => Account::Advance(Advance::Agent(id(name)?)),
        ("1300", "vendor") => Account::Advance(Advance::Vendor(id(name)?)),
        ("1300", "imprest") => Account::Advance(Advance::Imprest(id(name)?)),
        ("2100", "disbursement") => Account::Payable(Payable::Disbursement(id(name)?)),
        ("2100", "vendor") => Account::Payable(Payable::Vendor(id(name)?)),
        ("2100", "owner") => Account::Payable(Payable::Owner(id(name)?)),
        ("2100", "claimant") => Account::Payable(Payable::Claimant(id(name)?)),
        ("2100", "cost") => Account::Payable(Payable::Cost(id(name)?)),
        ("2100", "other-body") => Account::Payable(Payable::OtherBody(id(name)?)),
        ("2200", "bank") => Account::Outstanding(Via::Bank(id(name)?)),
        ("2200", "agent") => Account::Outstanding(Via::Agent(id(name)?)),
        _ => return None,
    })
}

serde_as_text!(Account);

#[cfg(test)]
mod tests {
    use super::*;
    use Limit::{NotBelowHeld as L, Unlimited as U};
    use Plane::{Budget, Memo, Proprietary};
    use Side::{Credit as Cr, Debit as Dr};

    #[test]
    fn the_chart() {
        for (text, name, plane, side, limit, may_hold) in [
            ("1100/usd-main", "cash at usd-main", Proprietary, Dr, L, true),
            ("1150/b", "custody cash at b", Proprietary, Dr, L, false),
            ("1200/disbursement/d-1", "receivable on disbursement d-1", Proprietary, Dr, L, false),
            ("1200/vendor/v", "receivable from vendor v", Proprietary, Dr, L, false),
            ("1200/depository/b", "receivable from depository b", Proprietary, Dr, L, false),
            ("1200/asset-costs/a1", "receivable for costs of asset a1", Proprietary, Dr, L, false),
            ("1300/agent/v", "float of agent v", Proprietary, Dr, L, true),
            ("1300/vendor/v", "prepayment to vendor v", Proprietary, Dr, L, true),
            ("1300/imprest/v", "imprest of v", Proprietary, Dr, L, true),
            ("2100/disbursement/d-1", "payable on disbursement d-1", Proprietary, Cr, L, false),
            ("2100/vendor/v", "payable to vendor v", Proprietary, Cr, L, false),
            ("2100/owner/a1", "payable to owner of asset a1", Proprietary, Cr, L, false),
            ("2100/claimant/c", "payable to claimant c", Proprietary, Cr, L, false),
            ("2100/cost/c", "payable for costs to c", Proprietary, Cr, L, false),
            ("2100/other-body/c", "payable to other body c", Proprietary, Cr, L, false),
            ("2200/bank/b", "outstanding at bank b", Proprietary, Cr, L, false),
            ("2200/agent/v", "outstanding at agent v", Proprietary, Cr, L, false),
            ("2300/a1", "owner's claim to asset a1", Proprietary, Cr, L, false),
            ("2500/b", "suspense at b", Proprietary, Cr, U, false),
            ("2600/b", "overdrawn at b", Proprietary, Cr, L, false),
            ("3100", "net assets", Proprietary, Cr, U, false),
            ("4101", "income: forfeiture", Proprietary, Cr, U, false),
            ("4108", "income: exchange gain", Proprietary, Cr, U, false),
            ("5101", "expense: benefit", Proprietary, Dr, U, false),
            ("5110", "expense: in kind", Proprietary, Dr, U, false),
            ("6100", "currency position", Proprietary, Dr, U, false),
            ("7100", "resources", Budget, Dr, L, false),
            ("7200", "unallotted", Budget, Cr, L, false),
            ("7210/main", "available in main", Budget, Cr, L, true),
            ("7300", "obligated", Budget, Cr, L, false),
            ("7400", "accrued", Budget, Cr, L, false),
            ("7500", "paid", Budget, Cr, L, false),
            ("7900", "shortfall", Budget, Dr, L, false),
            ("8100/a1", "restrained: asset a1", Memo, Dr, L, false),
            ("8200/a1", "retained: asset a1", Memo, Dr, L, false),
            ("8900", "memo contra", Memo, Cr, U, false),
        ] {
            let account: Account = text.parse().unwrap();
            assert_eq!((account.to_string().as_str(), account.name().as_str()), (text, name));
            assert_eq!((account.plane(), account.normal_side()), (plane, side), "{text}");
            assert_eq!((account.limit(), account.may_hold()), (limit, may_hold), "{text}");
            assert_eq!(account.code().to_string(), text[..4]);
            assert_eq!(serde_json::to_string(&account).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Account>(&format!("{text:?}")).unwrap(), account);
        }
    }

    #[test]
    fn kinds_have_codes_of_their_own() {
        let income = Income::EVERY.iter().map(|kind| Account::Income(*kind));
        let codes: Vec<_> = income.chain(Expense::EVERY.iter().map(|kind| Account::Expense(*kind))).collect();
        assert_eq!(codes.len(), 18);
        assert!(codes.is_sorted_by(|a, b| a.code() < b.code() && a < b));
        assert!(codes.iter().all(|account| account.to_string().parse().as_ref() == Ok(account)));
    }

    #[test]
    fn nothing_else_is_an_account() {
        for bad in [
            "",
            "/",
            "1100",
            "1100/",
            "1100//",
            "1100/A",
            "1100/a/b",
            "1100/a/",
            "/1100/a",
            "01100/a",
            " 1100/a",
            "1100/a.b",
            "1200/vendor",
            "1200/vendor/",
            "1200/owner/a",
            "1200/vendor/a/b",
            "2200/b",
            "2200/vendor/v",
            "3100/",
            "3100/a",
            "4100",
            "4109",
            "04101",
            "4101/a",
            "5100",
            "5111",
            "7210",
            "7100/main",
            "9999",
            "+3100",
        ] {
            assert_eq!(bad.parse::<Account>(), Err(AccountError), "{bad}");
        }
    }
}
