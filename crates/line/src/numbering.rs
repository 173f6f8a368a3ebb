//! What a number means in a country: how the spellings of one number meet, and which numbers are never dialled.
//!
//! An exchange presents a caller, and an operator writes a number, in one of three ways:
//!
//! ```text
//!   +496612345670        international (ITU-T E.164)
//!   00496612345670       with the country's international prefix (00, 011, 010, 810 ...)
//!   06612345670          national, with the trunk prefix (0, 1, 8, or none)
//! ```
//!
//! A [`Home`] makes the first of the other two, so that numbers can go on being compared exactly. What fits none of them
//! is an extension or a short code and stays as it is. Lines present callers in still other ways, each a spelling of one
//! number and not of another only if one knows the number: [`Home::spelt`] gives what may be meant, for a comparison with
//! the registered ones. Nothing is dialled by it. The plans are data, made from libphonenumber's.

mod plans;

use std::fmt;
use std::str::FromStr;

use crate::number::Number;

/// A country's numbering plan, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// ISO 3166-1, two letters.
    country: &'static str,
    /// Country code.
    code: &'static str,
    /// What is dialled before a foreign number.
    international: &'static str,
    /// What is dialled before a national one; empty where there is nothing.
    trunk: &'static str,
    /// Fewest digits of an ordinary number, without the trunk prefix.
    shortest: usize,
    /// How premium-rate numbers begin, without the trunk prefix.
    premium: &'static [&'static str],
}

/// Emergency numbers. 112 and 911 in every network, the others where there is no telling which network it is
/// (3GPP TS 22.101 §10.1.1); 113, 115, 117, 122 and 133 to 144 are such in several countries.
const EMERGENCY: [&str; 14] = [
    "112", "911", "999", "000", "110", "118", "119", "113", "115", "117", "122", "133", "144",
    "995",
];

/// An area and a subscriber in the plan of country code 1.
const NORTH_AMERICAN_DIGITS: usize = 10;

/// Fewest digits behind an international prefix: a country code and a number.
const FOREIGN_DIGITS_MIN: usize = 7;

/// Fewest digits of a number without its trunk prefix: less may be an extension.
const OWN_DIGITS_MIN: usize = 6;

/// International prefixes besides the plan's, `x` for any digit: each carrier has its own there. From the ITU's list of
/// dialling procedures, and libphonenumber's.
const INTERNATIONAL_PREFIXES: &[(&str, &[&str])] = &[
    ("AU", &["001x"]),
    ("BR", &["00xx"]),
    ("CL", &["1xx0"]),
    ("CO", &["005", "007", "009", "0044x", "00456"]),
    ("FI", &["990", "99xxx"]),
    (
        "HK",
        &[
            "001", "002", "006", "007", "008", "009", "0030", "0050", "0059",
        ],
    ),
    ("ID", &["001", "007", "008", "009", "0101x"]),
    (
        "IL",
        &["012", "013", "014", "015", "016", "017", "018", "019"],
    ),
    (
        "KR",
        &[
            "001", "002", "005", "006", "008", "009", "0030x", "0070x", "0072x", "0076x",
        ],
    ),
    ("SG", &["001", "002", "008", "018", "019"]),
    ("TH", &["001", "004", "005", "006", "007", "008", "009"]),
    (
        "TW",
        &["002", "005", "006", "007", "009", "016", "017", "019"],
    ),
];

/// Prefixes of a national number that name a carrier besides the trunk prefix.
const CARRIER_PREFIXES: &[(&str, &[&str])] = &[("BR", &["0xx"]), ("CO", &["03", "05", "07", "09"])];

/// The country in which a line is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Home(&'static Plan);

/// A text that names no country with a numbering plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no country; write two letters of ISO 3166-1, such as \"DE\" or \"US\"")]
pub struct HomeError(String);

/// Why a number is never dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// An ambulance is not for machines.
    #[error("it is an emergency number")]
    Emergency,
    /// The call would cost what the owner of the number likes.
    #[error("it is a premium-rate number")]
    Premium,
}

impl Home {
    /// The number that is meant here, in international form if it can have one.
    ///
    /// ```
    /// use ringup_line::{Home, Number};
    ///
    /// let home: Home = "DE".parse()?;
    /// for spelling in ["+496612345670", "00496612345670", "06612345670"] {
    ///     assert_eq!(home.normal(&spelling.parse()?).as_str(), "+496612345670");
    /// }
    /// assert_eq!(home.normal(&"201".parse()?).as_str(), "201");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn normal(self, number: &Number) -> Number {
        let Plan {
            code,
            international,
            ..
        } = self.0;
        let digits = number.as_str();
        if number.is_international() {
            return number.clone();
        }
        let international_form = match digits.strip_prefix(international) {
            Some(foreign) if foreign.len() >= FOREIGN_DIGITS_MIN => format!("+{foreign}"),
            _ => match self.national(digits) {
                Some(national) => format!("+{code}{national}"),
                None => return number.clone(),
            },
        };
        // Too long for E.164, or a country code that begins with 0: then it was no such spelling.
        international_form
            .parse()
            .unwrap_or_else(|_| number.clone())
    }

    /// The numbers that may be meant by what a line here presents of a caller, the likeliest first. Besides
    /// [`Home::normal`]: without the trunk prefix, the country code without its `+`, behind another international prefix or
    /// a carrier's code. Each is compared whole with the registered ones, so that nothing but a spelling of one fits.
    ///
    /// ```
    /// use ringup_line::{Home, Number};
    ///
    /// let home: Home = "DE".parse()?;
    /// for presented in ["06612345670", "6612345670", "496612345670", "00496612345670"] {
    ///     assert!(home.spelt(&presented.parse()?).contains(&"+496612345670".parse()?));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spelt(self, presented: &Number) -> Vec<Number> {
        let mut meant = vec![self.normal(presented)];
        if presented.is_international() {
            return meant;
        }
        let Plan {
            country,
            code,
            shortest,
            ..
        } = *self.0;
        let digits = presented.as_str();
        let mut may_be = |international: String| {
            let number = international
                .parse::<Number>()
                .ok()
                .filter(|number| !meant.contains(number));
            meant.extend(number);
        };
        if digits.len() >= shortest.max(OWN_DIGITS_MIN) {
            may_be(format!("+{code}{digits}"));
        }
        if digits
            .strip_prefix(code)
            .is_some_and(|national| national.len() >= shortest.max(OWN_DIGITS_MIN))
        {
            may_be(format!("+{digits}"));
        }
        for (place, prefixes) in INTERNATIONAL_PREFIXES {
            let behind = prefixes
                .iter()
                .filter_map(|prefix| behind(digits, prefix))
                .filter(|_| *place == country);
            behind
                .filter(|foreign| foreign.len() >= FOREIGN_DIGITS_MIN)
                .for_each(|foreign| may_be(format!("+{foreign}")));
        }
        for (place, prefixes) in CARRIER_PREFIXES {
            let behind = prefixes
                .iter()
                .filter_map(|prefix| behind(digits, prefix))
                .filter(|_| *place == country);
            behind
                .filter(|national| national.len() >= shortest)
                .for_each(|own| may_be(format!("+{code}{own}")));
        }
        meant
    }

    /// What is dialled here for a number.
    pub(crate) fn dialled(self, number: &Number) -> String {
        let Plan {
            code,
            international,
            trunk,
            ..
        } = *self.0;
        match number.as_str().strip_prefix('+') {
            None => number.to_string(),
            Some(digits) => match digits.strip_prefix(code) {
                Some(national) => format!("{trunk}{national}"),
                None => format!("{international}{digits}"),
            },
        }
    }

    /// The national number without its trunk prefix, if it is one.
    fn national(self, digits: &str) -> Option<&str> {
        let Plan {
            code,
            trunk,
            shortest,
            ..
        } = *self.0;
        // North America: ten digits, with or without the 1.
        if code == "1" && digits.len() == NORTH_AMERICAN_DIGITS {
            return Some(digits);
        }
        let national = digits.strip_prefix(trunk)?;
        let is_national = national.len() >= shortest;
        is_national.then_some(national)
    }
}

/// What stands behind a prefix in which `x` is any digit.
fn behind<'a>(digits: &'a str, prefix: &str) -> Option<&'a str> {
    let (begins, rest) = digits.split_at_checked(prefix.len())?;
    let fits = begins
        .bytes()
        .zip(prefix.bytes())
        .all(|(digit, wanted)| wanted == b'x' || digit == wanted);
    fits.then_some(rest)
}

/// Whether a number may be dialled from a line with this home, if it has one.
///
/// # Errors
/// [`Forbidden`]: it must not, ever.
pub fn check_dialled(home: Option<Home>, number: &Number) -> Result<(), Forbidden> {
    let number = number.clone().at(home);
    let Some(digits) = number.as_str().strip_prefix('+') else {
        return if EMERGENCY.contains(&number.as_str()) {
            Err(Forbidden::Emergency)
        } else {
            Ok(())
        };
    };
    // `+49112`: some networks connect it all the same.
    let plans = || {
        plans::PLANS
            .iter()
            .filter(|plan| digits.starts_with(plan.code))
    };
    let is_emergency = plans().any(|plan| EMERGENCY.contains(&&digits[plan.code.len()..]));
    let is_premium = plans().any(|plan| {
        plan.premium
            .iter()
            .any(|prefix| digits[plan.code.len()..].starts_with(prefix))
    });
    match (is_emergency, is_premium) {
        (true, _) => Err(Forbidden::Emergency),
        (_, true) => Err(Forbidden::Premium),
        _ => Ok(()),
    }
}

impl FromStr for Home {
    type Err = HomeError;

    fn from_str(country: &str) -> Result<Self, HomeError> {
        let plan = plans::PLANS.iter().find(|plan| plan.country == country);
        plan.map(Home).ok_or_else(|| HomeError(country.to_owned()))
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.country)
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(country: &str, number: &str) -> String {
        let home: Home = country.parse().unwrap();
        home.normal(&number.parse().unwrap()).to_string()
    }

    #[test]
    fn the_spellings_of_a_number_meet_at_one_value() {
        for (country, spellings, meant) in [
            (
                "DE",
                ["+496612345670", "00496612345670", "06612345670"],
                "+496612345670",
            ),
            (
                "US",
                ["+12125551234", "2125551234", "12125551234"],
                "+12125551234",
            ),
            (
                "JP",
                ["+81312345678", "010813123456 78", "0312345678"],
                "+81312345678",
            ),
            (
                "IT",
                ["+390612345678", "00390612345678", "0612345678"],
                "+390612345678",
            ),
            (
                "GB",
                ["+442071838750", "00442071838750", "02071838750"],
                "+442071838750",
            ),
        ] {
            for spelling in spellings {
                assert_eq!(
                    normal(country, &spelling.replace(' ', "")),
                    meant,
                    "{country}: {spelling}"
                );
            }
        }
        assert_eq!(normal("US", "011442071838750"), "+442071838750");
    }

    #[test]
    fn a_number_is_dialled_as_it_is_dialled_here() {
        let dialled = |country: &str, number: &str| {
            let home = Some(country.parse().unwrap());
            number
                .parse::<Number>()
                .unwrap()
                .dial_string("0,", home)
                .unwrap()
                .as_str()
                .to_owned()
        };
        assert_eq!(dialled("DE", "+496612345670"), "0,06612345670");
        assert_eq!(dialled("US", "+496612345670"), "0,011496612345670");
        assert_eq!(dialled("IT", "+390612345678"), "0,0612345678");
        assert_eq!(dialled("DE", "201"), "0,201");
    }

    #[test]
    fn an_extension_stays_an_extension() {
        for number in ["201", "1", "99", "4711", "12345"] {
            for country in ["DE", "US", "JP", "IT"] {
                assert_eq!(normal(country, number), number, "{country}");
            }
        }
    }

    #[test]
    fn one_digit_more_or_less_is_another_number() {
        let meant = normal("DE", "06612345670");
        for other in [
            "0661234567",
            "066123456701",
            "16612345670",
            "6612345670",
            "0049661234567",
        ] {
            assert_ne!(normal("DE", other), meant, "{other}");
        }
    }

    fn is_spelt(country: &str, registered: &str, presented: &str) -> bool {
        let home: Home = country.parse().unwrap();
        home.spelt(&presented.parse().unwrap())
            .contains(&home.normal(&registered.parse().unwrap()))
    }

    #[test]
    fn what_lines_of_a_country_present_is_a_spelling_of_the_registered_number() {
        for (country, registered, presented) in [
            ("DE", "+496612345670", "6612345670"),
            ("DE", "+496612345670", "496612345670"),
            ("DE", "+496612345670", "06612345670"),
            ("FR", "+33123456789", "123456789"),
            ("IN", "+919812345678", "9812345678"),
            ("RU", "+74951234567", "4951234567"),
            ("RU", "+74951234567", "74951234567"),
            ("RU", "+74951234567", "84951234567"),
            ("CN", "+8613912345678", "13912345678"),
            ("BR", "+551133334444", "1133334444"),
            ("BR", "+551133334444", "0151133334444"),
            ("AR", "+541143211234", "1143211234"),
            ("TR", "+902121234567", "2121234567"),
            ("MX", "+525512345678", "525512345678"),
            ("HK", "+442071838750", "0059442071838750"),
            ("HK", "+442071838750", "001442071838750"),
            ("DE", "201", "201"),
        ] {
            assert!(
                is_spelt(country, registered, presented),
                "{country}: {presented}"
            );
        }
    }

    #[test]
    fn what_is_no_spelling_of_it_is_another_number() {
        for (country, registered, presented) in [
            ("DE", "+496612345670", "661234567"),
            ("DE", "+496612345670", "66123456701"),
            ("DE", "+496612345670", "16612345670"),
            ("DE", "+496612345670", "+16612345670"),
            ("DE", "+496612345670", "0151496612345670"),
            ("DE", "+496612345670", "446612345670"),
            ("IN", "+919812345678", "00449812345678"),
            ("IN", "+919812345678", "449812345678"),
            ("BR", "+551133334444", "015113333444"),
            ("US", "+12125551234", "5551234"),
            ("US", "+12125551234", "442125551234"),
            ("DE", "201", "0201"),
            ("DE", "201", "49201"),
            ("DE", "+49201", "201"),
        ] {
            assert!(
                !is_spelt(country, registered, presented),
                "{country}: {presented}"
            );
        }
    }

    /// Whoever is let in by a spelling has presented the registered digits, whole, and nothing but a prefix before them.
    #[test]
    fn a_spelling_ends_with_the_digits_of_the_number() {
        for country in ["DE", "US", "RU", "BR", "HK", "IT", "HU", "CO", "KR"] {
            let home: Home = country.parse().unwrap();
            for presented in [
                "6612345670",
                "496612345670",
                "0151133334444",
                "001442071838750",
                "84951234567",
                "201",
            ] {
                for meant in home.spelt(&presented.parse().unwrap()) {
                    let digits = meant.as_str().trim_start_matches('+');
                    let national = digits.strip_prefix(home.0.code).unwrap_or(digits);
                    assert!(
                        presented.ends_with(national),
                        "{country}: {presented} {meant}"
                    );
                }
            }
        }
    }

    #[test]
    fn nobody_calls_an_ambulance_or_pays_a_premium() {
        let refused = |country: Option<&str>, number: &str| {
            let home = country.map(|country| country.parse().unwrap());
            check_dialled(home, &number.parse().unwrap())
        };
        for number in ["112", "911", "999", "110", "119"] {
            assert_eq!(refused(None, number), Err(Forbidden::Emergency), "{number}");
            assert_eq!(
                refused(Some("DE"), number),
                Err(Forbidden::Emergency),
                "{number}"
            );
        }
        assert_eq!(refused(None, "+49112"), Err(Forbidden::Emergency));
        for (country, number) in [
            ("DE", "09001234567"),
            ("US", "19005551234"),
            ("US", "9005551234"),
            ("GB", "09098790000"),
        ] {
            assert_eq!(
                refused(Some(country), number),
                Err(Forbidden::Premium),
                "{country}: {number}"
            );
        }
        assert_eq!(
            refused(None, "+499001234567"),
            Err(Forbidden::Premium),
            "from abroad as well"
        );
        for (country, number) in [
            ("DE", "06612345670"),
            ("US", "2125551234"),
            ("DE", "1123"),
            ("JP", "0312345678"),
        ] {
            assert_eq!(
                refused(Some(country), number),
                Ok(()),
                "{country}: {number}"
            );
        }
        assert_eq!(refused(None, "201"), Ok(()));
    }

    #[test]
    fn a_country_is_two_capital_letters() {
        assert!("DE".parse::<Home>().is_ok());
        for country in ["de", "D", "DEU", "XX", "", "49"] {
            assert_eq!(country.parse::<Home>(), Err(HomeError(country.to_owned())));
        }
    }
}
