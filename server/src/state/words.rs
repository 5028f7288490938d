//! Fingerprints as words that two people can read to each other.
//!
//! The first 88 bits of a fingerprint, as eight numbers of 11 bits, each of which names one of the 2,048 words of BIP-39's
//! lists, English and French. The page shows the same (web/page/compare.js), from the same files. A fingerprint is a plain hash:
//! whoever wants another key with the same words tries 2^88 of them, where 66 bits, six words, are within reach.

const WORDS: u32 = 8;
const BITS: u32 = 11;

/// The language of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// BIP-39's English list.
    English,
    /// BIP-39's French list.
    French,
}

/// A fingerprint (8 groups of 4 hexadecimal digits) as eight words with spaces between.
///
/// # Panics
/// If it is no fingerprint.
#[must_use]
pub fn spoken(fingerprint: &str, language: Language) -> String {
    let list = match language {
        Language::English => include_str!("words-en.txt"),
        Language::French => include_str!("words-fr.txt"),
    };
    let list: Vec<&str> = list.lines().collect();
    let digits: String = fingerprint.split(' ').collect();
    let bits = u128::from_str_radix(&digits, 16).expect("a fingerprint is hexadecimal") >> (u128::BITS - WORDS * BITS);
    let numbers =
        (0..WORDS).rev().map(|word| usize::try_from((bits >> (word * BITS)) & 0x7ff).expect("it has 11 bits"));
    numbers.map(|number| list[number]).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_first_88_bits() {
        let (en, fr) = (Language::English, Language::French);
        let zero = "0000 0000 0000 0000 0000 0000 0000 0000";
        assert_eq!(spoken(zero, en), "abandon abandon abandon abandon abandon abandon abandon abandon");
        let ones = "ffff ffff ffff ffff ffff ff00 0000 0000";
        assert_eq!(spoken(ones, en), "zoo zoo zoo zoo zoo zoo zoo zoo");
        assert_eq!(spoken(ones, fr), ["zoologie"; 8].join(" "));
        // 11 bits each: 1, 2, 3, 4, 5, 6, 7, 2,047; what follows the 88th is not in them.
        let counted = "0020 0801 8040 0a01 803f ffff ffff ffff";
        assert_eq!(spoken(counted, en), "ability able about above absent absorb abstract zoo");
        assert_eq!(spoken(counted, fr), "abandon abdiquer abeille abolir aborder aboutir aboyer zoologie");
    }
}
