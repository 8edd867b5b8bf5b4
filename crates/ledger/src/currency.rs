//! The currencies of ISO 4217 that have minor units (list one as published on 2024-06-25). What has none, such as gold
//! or the special drawing right, cannot be an amount of money here.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// Why a text is not a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CurrencyError {
    /// Not a code of ISO 4217 with minor units.
    #[error("not an ISO 4217 currency with minor units")]
    Unknown,
}

macro_rules! currencies {
    ($($code:ident $minor_units:literal),+ $(,)?) => {
        /// A currency of ISO 4217, ordered by code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Currency {
            $(#[doc = concat!(stringify!($code), ", with ", stringify!($minor_units), " decimals.")] $code,)+
        }

        impl Currency {
            /// All of them, in the order of their codes. (`ALL` is the Albanian lek.)
            pub const EVERY: &'static [Self] = &[$(Self::$code),+];

            /// The three-letter code.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$code => stringify!($code),)+
                }
            }

            /// How many decimals an amount has.
            pub fn minor_units(self) -> u32 {
                match self {
                    $(Self::$code => $minor_units,)+
                }
            }
        }

        impl FromStr for Currency {
            type Err = CurrencyError;

            fn from_str(text: &str) -> Result<Self, CurrencyError> {
                match text {
                    $(stringify!($code) => Ok(Self::$code),)+
                    _ => Err(CurrencyError::Unknown),
                }
            }
        }
    };
}

currencies! {
    AED 2, AFN 2, ALL 2, AMD 2, ANG 2, AOA 2, ARS 2, AUD 2, AWG 2, AZN 2, BAM 2, BBD 2,
    BDT 2, BGN 2, BHD 3, BIF 0, BMD 2, BND 2, BOB 2, BOV 2, BRL 2, BSD 2, BTN 2, BWP 2,
    BYN 2, BZD 2, CAD 2, CDF 2, CHE 2, CHF 2, CHW 2, CLF 4, CLP 0, CNY 2, COP 2, COU 2,
    CRC 2, CUC 2, CUP 2, CVE 2, CZK 2, DJF 0, DKK 2, DOP 2, DZD 2, EGP 2, ERN 2, ETB 2,
    EUR 2, FJD 2, FKP 2, GBP 2, GEL 2, GHS 2, GIP 2, GMD 2, GNF 0, GTQ 2, GYD 2, HKD 2,
    HNL 2, HTG 2, HUF 2, IDR 2, ILS 2, INR 2, IQD 3, IRR 2, ISK 0, JMD 2, JOD 3, JPY 0,
    KES 2, KGS 2, KHR 2, KMF 0, KPW 2, KRW 0, KWD 3, KYD 2, KZT 2, LAK 2, LBP 2, LKR 2,
    LRD 2, LSL 2, LYD 3, MAD 2, MDL 2, MGA 2, MKD 2, MMK 2, MNT 2, MOP 2, MRU 2, MUR 2,
    MVR 2, MWK 2, MXN 2, MXV 2, MYR 2, MZN 2, NAD 2, NGN 2, NIO 2, NOK 2, NPR 2, NZD 2,
    OMR 3, PAB 2, PEN 2, PGK 2, PHP 2, PKR 2, PLN 2, PYG 0, QAR 2, RON 2, RSD 2, RUB 2,
    RWF 0, SAR 2, SBD 2, SCR 2, SDG 2, SEK 2, SGD 2, SHP 2, SLE 2, SOS 2, SRD 2, SSP 2,
    STN 2, SVC 2, SYP 2, SZL 2, THB 2, TJS 2, TMT 2, TND 3, TOP 2, TRY 2, TTD 2, TWD 2,
    TZS 2, UAH 2, UGX 0, USD 2, USN 2, UYI 0, UYU 2, UYW 4, UZS 2, VED 2, VES 2, VND 0,
    VUV 0, WST 2, XAF 0, XCD 2, XOF 0, XPF 0, YER 2, ZAR 2, ZMW 2, ZWG 2,
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

serde_as_text!(Currency);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(Currency::EVERY.is_sorted_by(|a, b| a.code() < b.code() && a < b));
        let with = |units| Currency::EVERY.iter().filter(|c| c.minor_units() == units).count();
        assert_eq!([0, 1, 2, 3, 4].map(with), [17, 0, 140, 7, 2]);
        assert_eq!(Currency::EVERY.len(), 166);
    }

    #[test]
    fn codes_have_one_spelling() {
        for &currency in Currency::EVERY {
            assert_eq!(currency.to_string().parse(), Ok(currency));
            let json = serde_json::to_string(&currency).unwrap();
            assert_eq!(serde_json::from_str::<Currency>(&json).unwrap(), currency);
        }
        for (code, units) in [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("EUR", 2)] {
            assert_eq!(code.parse::<Currency>().unwrap().minor_units(), units);
        }
        for bad in ["", "usd", "US", "USDX", "XAU", "XDR", "XXX", "XTS", "DEM", " USD"] {
            assert_eq!(bad.parse::<Currency>(), Err(CurrencyError::Unknown), "{bad}");
        }
    }
}
