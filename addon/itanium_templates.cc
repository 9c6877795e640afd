// What was named before, and template arguments.
#include "itanium.h"

namespace itanium {

static constexpr struct {
    char code;
    const char *text;
    const char *whole;
    const char *base;
} STANDARD[] = {
    {'a', "std::allocator", "std::allocator", "allocator"},
    {'b', "std::basic_string", "std::basic_string", "basic_string"},
    {'s', "std::string", "std::basic_string<char, std::char_traits<char>, std::allocator<char> >",
     "basic_string"},
    {'i', "std::istream", "std::basic_istream<char, std::char_traits<char> >", "basic_istream"},
    {'o', "std::ostream", "std::basic_ostream<char, std::char_traits<char> >", "basic_ostream"},
    {'d', "std::iostream", "std::basic_iostream<char, std::char_traits<char> >", "basic_iostream"},
};

Id Parser::structor(NameState *state, Id &scope) {
    if (scope == NONE)
        fail();
    bool is_destructor = next() == 'D';
    bool is_inherited = !is_destructor && take("I");
    char variant = next();
    if (variant < '0' || variant > '5')
        fail();
    if (is_inherited)
        name(nullptr);
    if (state)
        state->has_no_return_type = true;
    Id base = base_name(scope);
    if (tree_.nodes[base].kind == Kind::STANDARD) {
        // An abbreviation is the name of no constructor.
        std::string_view text = tree_.nodes[base].text;
        for (const auto &each : STANDARD)
            if (text == each.text) {
                if (base == scope)
                    scope = tree_.text(each.whole);
                base = tree_.text(each.base);
                break;
            }
    }
    return tree_.add({.kind = Kind::STRUCTOR, .left = base, .text = is_destructor ? "~" : ""});
}

Id Parser::substitution() {
    if (!take("S"))
        fail();
    for (const auto &each : STANDARD)
        if (look() == each.code) {
            at_++;
            Id id = tree_.add({.kind = Kind::STANDARD, .text = each.text});
            bool had_tags = false;
            skip_tags(&had_tags);
            if (had_tags)
                substitutions_.push_back(id);
            return id;
        }
    size_t index = 0;
    if (!take("_")) {
        while (!take("_")) {
            char digit = next();
            if (digit >= '0' && digit <= '9')
                index = index * 36 + static_cast<size_t>(digit - '0');
            else if (digit >= 'A' && digit <= 'Z')
                index = index * 36 + static_cast<size_t>(digit - 'A' + 10);
            else
                fail();
            if (index > substitutions_.size())
                fail();
        }
        index++;
    }
    if (index >= substitutions_.size())
        fail();
    return substitutions_[index];
}

Id Parser::template_parameter() {
    if (!take("T"))
        fail();
    if (take("L")) {
        number();
        if (!take("_"))
            fail();
    }
    uint64_t position = sequence_number();
    if (lambdas_ > 0)
        return tree_.number("auto:", position, "");
    // A conversion's type stands before the template arguments that it speaks of.
    if (may_refer_forward_) {
        Id id = tree_.add({.kind = Kind::FORWARD, .right = static_cast<Id>(position - 1)});
        forward_.push_back(id);
        return id;
    }
    if (position > template_parameters_.size())
        fail();
    return template_parameters_[position - 1];
}

Id Parser::with_arguments(Id name, bool tags) {
    Deeper deeper(depth_);
    if (!take("I"))
        fail();
    if (tags)
        template_parameters_.clear();
    std::vector<Id> arguments;
    while (!take("E")) {
        if (take("Q")) {
            expression();
            continue;
        }
        Id argument = template_argument();
        arguments.push_back(argument);
        if (!tags)
            continue;
        Node entry = tree_.nodes[argument];
        if (entry.kind == Kind::LIST) {
            entry.kind = Kind::PARAMETER_PACK;
            argument = tree_.add(entry);
        }
        template_parameters_.push_back(argument);
    }
    return tree_.list(Kind::TEMPLATE, arguments, {.left = name});
}

Id Parser::template_argument() {
    Deeper deeper(depth_);
    if (take("X")) {
        Id value = expression();
        if (!take("E"))
            fail();
        return value;
    }
    if (look() == 'L')
        return literal();
    if (take("J")) {
        std::vector<Id> items;
        while (!take("E"))
            items.push_back(template_argument());
        return tree_.list(Kind::LIST, items);
    }
    // A template parameter's constraint, before the argument.
    if (look() == 'T' && look(1) == 'k')
        fail();
    if (look() == 'T' && (look(1) == 'y' || look(1) == 'n' || look(1) == 't' || look(1) == 'p')) {
        skip_template_declarations();
        return template_argument();
    }
    return type();
}

} // namespace itanium
