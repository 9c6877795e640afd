// Types.
#include "itanium.h"

namespace itanium {

// By letter; those that are missing mean something else, or nothing.
static constexpr const char *BUILTINS[] = {
    "signed char", "bool",       "char",          "double",    "long double",
    "float",       "__float128", "unsigned char", "int",       "unsigned int",
    nullptr,       "long",       "unsigned long", "__int128",  "unsigned __int128",
    nullptr,       nullptr,      nullptr,         "short",     "unsigned short",
    nullptr,       "void",       "wchar_t",       "long long", "unsigned long long",
    "...",
};

Id Parser::builtin(char letter) {
    const char *text = letter >= 'a' && letter <= 'z' ? BUILTINS[letter - 'a'] : nullptr;
    return text ? tree_.text(text) : NONE;
}

// Behind "D"; none of them can be substituted.
Id Parser::extended_builtin() {
    switch (look(1)) {
    case 'd':
        at_ += 2;
        return tree_.text("decimal64");
    case 'e':
        at_ += 2;
        return tree_.text("decimal128");
    case 'f':
        at_ += 2;
        return tree_.text("decimal32");
    case 'h':
        at_ += 2;
        return tree_.text("half");
    case 'i':
        at_ += 2;
        return tree_.text("char32_t");
    case 's':
        at_ += 2;
        return tree_.text("char16_t");
    case 'u':
        at_ += 2;
        return tree_.text("char8_t");
    case 'a':
        at_ += 2;
        return tree_.text("auto");
    case 'c':
        at_ += 2;
        return tree_.text("decltype(auto)");
    case 'n':
        at_ += 2;
        return tree_.text("decltype(nullptr)");
    case 'F': {
        at_ += 2;
        uint64_t bits = number();
        if (take("b"))
            return tree_.text("std::bfloat16_t");
        Id text = tree_.number("_Float", bits, look() == 'x' ? "x" : "");
        if (!take("_") && !take("x"))
            fail();
        return text;
    }
    case 'B':
    case 'U': {
        bool is_unsigned = look(1) == 'U';
        at_ += 2;
        Id bits = look() >= '0' && look() <= '9' ? tree_.text(digits()) : expression();
        if (!take("_"))
            fail();
        return tree_.sequence(
            {tree_.text(is_unsigned ? "unsigned _BitInt(" : "_BitInt("), bits, tree_.text(")")});
    }
    default:
        return NONE;
    }
}

uint8_t Parser::cv_qualifiers() {
    uint8_t flags = 0;
    if (take("r"))
        flags |= RESTRICT;
    if (take("V"))
        flags |= VOLATILE;
    if (take("K"))
        flags |= CONST;
    return flags;
}

void Parser::parameters(std::vector<Id> &types) {
    if (take("v"))
        return;
    while (!at_end() && look() != 'E' && look() != '.' && look() != 'Q')
        types.push_back(type());
    if (types.empty() && !at_end())
        fail();
}

Id Parser::type(bool is_conversion) {
    Deeper deeper(depth_);
    Id result;
    switch (look()) {
    case 'r':
    case 'V':
    case 'K': {
        size_t ahead = 0;
        for (char qualifier : {'r', 'V', 'K'})
            if (look(ahead) == qualifier)
                ahead++;
        char then = look(ahead + 1);
        bool is_function =
            look(ahead) == 'F' ||
            (look(ahead) == 'D' && (then == 'o' || then == 'O' || then == 'w' || then == 'x'));
        result = is_function ? function_type() : qualified_type();
        break;
    }
    case 'U':
        result = qualified_type();
        break;
    case 'u': {
        at_++;
        result = source_name();
        if (look() == 'I')
            result = with_arguments(result, false);
        break;
    }
    case 'D':
        switch (look(1)) {
        case 't':
        case 'T':
            result = decltype_of();
            break;
        case 'v': {
            at_ += 2;
            Id count = look() >= '0' && look() <= '9' ? tree_.text(digits()) : NONE;
            if (count == NONE && look() != '_')
                count = expression();
            if (!take("_"))
                fail();
            result = type();
            std::vector<Id> parts{result, tree_.text(" __vector(")};
            if (count != NONE)
                parts.push_back(count);
            parts.push_back(tree_.text(")"));
            result = tree_.list(Kind::SEQUENCE, parts);
            break;
        }
        case 'p':
            at_ += 2;
            result = tree_.add({.kind = Kind::EXPANSION, .left = type()});
            break;
        case 'o':
        case 'O':
        case 'w':
        case 'x':
            result = function_type();
            break;
        default:
            result = extended_builtin();
            if (result == NONE)
                fail();
            return result;
        }
        break;
    case 'F':
        result = function_type();
        break;
    case 'A':
        result = array_type();
        break;
    case 'M': {
        at_++;
        Id of = type();
        Id member = type();
        result = tree_.add({.kind = Kind::MEMBER_POINTER, .left = of, .right = member});
        break;
    }
    case 'T':
        if (look(1) == 's' || look(1) == 'u' || look(1) == 'e') {
            result = class_or_enum();
            break;
        }
        result = template_parameter();
        if (look() == 'I' && !is_conversion) {
            substitutions_.push_back(result);
            result = with_arguments(result, false);
        }
        break;
    case 'P':
        at_++;
        result = tree_.add({.kind = Kind::POINTER, .left = type()});
        break;
    case 'R':
    case 'O': {
        uint8_t flag = next() == 'R' ? LVALUE : RVALUE;
        result = tree_.add({.kind = Kind::REFERENCE, .flags = flag, .left = type()});
        break;
    }
    case 'C':
    case 'G': {
        std::string_view text = next() == 'C' ? " _Complex" : " _Imaginary";
        result = tree_.add({.kind = Kind::VENDOR_QUALIFIED, .left = type(), .text = text});
        break;
    }
    case 'S':
        if (look(1) != 't') {
            result = substitution();
            if (look() != 'I' || is_conversion)
                return result;
            result = with_arguments(result, false);
            break;
        }
        [[fallthrough]];
    case 'N':
    case 'Z':
    case '0' ... '9':
        result = class_or_enum();
        break;
    default:
        result = builtin(look());
        if (result == NONE)
            fail();
        at_++;
        return result;
    }
    substitutions_.push_back(result);
    return result;
}

Id Parser::class_or_enum() {
    if (!take("Ts") && !take("Tu"))
        take("Te");
    return name(nullptr);
}

Id Parser::qualified_type() {
    Deeper deeper(depth_);
    if (take("U")) {
        std::string_view text = tree_.nodes[source_name()].text;
        std::string &spaced = tree_.texts.emplace_back(" ");
        spaced += text;
        // What it is given does not tell functions apart for a reader.
        if (look() == 'I')
            with_arguments(tree_.text(text), false);
        return tree_.add(
            {.kind = Kind::VENDOR_QUALIFIED, .left = qualified_type(), .text = spaced});
    }
    uint8_t flags = cv_qualifiers();
    Id of = type();
    return flags ? tree_.add({.kind = Kind::QUALIFIED, .flags = flags, .left = of}) : of;
}

Id Parser::function_type() {
    Node node{.kind = Kind::FUNCTION, .flags = cv_qualifiers()};
    if (take("Do")) {
        node.flags |= NOEXCEPT;
    } else if (take("DO")) {
        expression();
        if (!take("E"))
            fail();
        node.flags |= NOEXCEPT;
    } else if (take("Dw")) {
        while (!take("E"))
            type();
    }
    take("Dx");
    if (!take("F"))
        fail();
    take("Y"); // of C
    node.left = type();
    std::vector<Id> types;
    for (;;) {
        if (take("E"))
            break;
        if (take("RE")) {
            node.flags |= LVALUE;
            break;
        }
        if (take("OE")) {
            node.flags |= RVALUE;
            break;
        }
        if (!take("v"))
            types.push_back(type());
    }
    return tree_.list(Kind::FUNCTION, types, node);
}

Id Parser::array_type() {
    at_++;
    Id count = NONE;
    if (look() >= '0' && look() <= '9')
        count = tree_.text(digits());
    else if (look() != '_')
        count = expression();
    if (!take("_"))
        fail();
    Id of = type();
    return tree_.add({.kind = Kind::ARRAY, .left = of, .right = count});
}

Id Parser::decltype_of() {
    at_ += 2;
    Id of = expression();
    if (!take("E"))
        fail();
    return tree_.sequence({tree_.text("decltype ("), of, tree_.text(")")});
}

} // namespace itanium
