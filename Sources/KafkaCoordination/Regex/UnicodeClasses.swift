/// What `\p{...}` may name: Unicode's general categories and scripts, those that re2j knows.
enum UnicodeClasses {
    /// The class's characters in ASCII; nil if there is no such class.
    static func set(_ name: String) -> ASCIISet? {
        switch name {
        case "Any": return .all
        case "Latin": return .letters
        case "Common": return ~.letters
        default: break
        }
        if Self.scripts.contains(name[...]) { return ASCIISet() }
        guard Self.categories.contains(name[...]) else { return nil }
        return ASCIISet { scalar in
            let category = Self.abbreviation(scalar.properties.generalCategory)
            return category == name || category.prefix(1) == name
        }
    }

    private static let categories = Set(
        "C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs"
            .split(separator: " "))

    /// Those without a character in ASCII.
    private static let scripts = Set(
        """
        Arabic Armenian Avestan Balinese Bamum Batak Bengali Bopomofo Brahmi Braille Buginese Buhid \
        Canadian_Aboriginal Carian Cham Cherokee Coptic Cuneiform Cypriot Cyrillic Deseret Devanagari \
        Egyptian_Hieroglyphs Ethiopic Georgian Glagolitic Gothic Greek Gujarati Gurmukhi Han Hangul Hanunoo Hebrew \
        Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada \
        Katakana Kayah_Li Kharoshthi Khmer Lao Lepcha Limbu Linear_B Lisu Lycian Lydian Malayalam Mandaic \
        Meetei_Mayek Mongolian Myanmar New_Tai_Lue Nko Ogham Ol_Chiki Old_Italic Old_Persian Old_South_Arabian \
        Old_Turkic Oriya Osmanya Phags_Pa Phoenician Rejang Runic Samaritan Saurashtra Shavian Sinhala Sundanese \
        Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Tamil Telugu Thaana Thai Tibetan Tifinagh \
        Ugaritic Unknown Vai Yi
        """.split(separator: " "))

    /// Of the categories that ASCII has.
    private static func abbreviation(_ category: Unicode.GeneralCategory) -> String {
        switch category {
        case .control: "Cc"
        case .uppercaseLetter: "Lu"
        case .lowercaseLetter: "Ll"
        case .decimalNumber: "Nd"
        case .connectorPunctuation: "Pc"
        case .dashPunctuation: "Pd"
        case .openPunctuation: "Ps"
        case .closePunctuation: "Pe"
        case .otherPunctuation: "Po"
        case .currencySymbol: "Sc"
        case .modifierSymbol: "Sk"
        case .mathSymbol: "Sm"
        case .spaceSeparator: "Zs"
        default: ""
        }
    }
}
