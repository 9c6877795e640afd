// Expressions: in template arguments, array bounds and decltype. Printed roughly as written.
#include <algorithm>

#include "itanium.h"

namespace itanium {

Id Parser::parenthesized(Id expression) {
    Kind kind = tree_.nodes[expression].kind;
    if (kind == Kind::TEXT || kind == Kind::SCOPED || kind == Kind::TEMPLATE ||
        kind == Kind::PARAMETER_PACK)
        return expression;
    return tree_.sequence({tree_.text("("), expression, tree_.text(")")});
}

Id Parser::operand_text(std::string_view operator_text, Id left, Id right) {
    left = parenthesized(left);
    right = parenthesized(right);
    Id whole = tree_.sequence({left, tree_.text(operator_text), right});
    // Not the end of the template arguments.
    if (operator_text.find('>') == std::string_view::npos)
        return whole;
    return tree_.sequence({tree_.text("("), whole, tree_.text(")")});
}

std::vector<Id> Parser::until_end() {
    std::vector<Id> items;
    while (!take("E"))
        items.push_back(expression());
    return items;
}

Id Parser::literal() {
    Deeper deeper(depth_);
    if (!take("L"))
        fail();
    if (take("_Z") || take("Z")) {
        Id of = encoding(false);
        if (!take("E"))
            fail();
        return of;
    }
    char kind = look();
    Id of = type();
    std::string_view before, after;
    switch (kind) {
    case 'b':
        if (take("0E"))
            return tree_.text("false");
        if (take("1E"))
            return tree_.text("true");
        break;
    case 'i':
        break;
    case 'j':
        after = "u";
        break;
    case 'l':
        after = "l";
        break;
    case 'm':
        after = "ul";
        break;
    case 'x':
        after = "ll";
        break;
    case 'y':
        after = "ull";
        break;
    default:
        before = "(";
    }
    bool is_negative = take("n");
    size_t start = at_;
    while (!at_end() && look() != 'E')
        at_++;
    std::string_view value = text_.substr(start, at_ - start);
    if (!take("E"))
        fail();
    // A lambda, a string or nullptr stands for itself.
    if (value.empty())
        return of;
    std::vector<Id> parts;
    if (!before.empty())
        parts = {tree_.text("("), of, tree_.text(")")};
    if (is_negative)
        parts.push_back(tree_.text("-"));
    bool is_float = kind == 'f' || kind == 'd' || kind == 'e' || kind == 'g';
    if (is_float)
        parts.push_back(tree_.text("["));
    parts.push_back(tree_.text(value));
    if (is_float)
        parts.push_back(tree_.text("]"));
    if (!after.empty())
        parts.push_back(tree_.text(after));
    return parts.size() == 1 ? parts[0] : tree_.list(Kind::SEQUENCE, parts);
}

// fp [cv] [NUMBER] _, fL LEVEL p [cv] [NUMBER] _, fpT
Id Parser::function_parameter() {
    if (take("fpT"))
        return tree_.text("this");
    if (take("fL")) {
        number();
        if (!take("p"))
            fail();
    } else if (!take("fp")) {
        fail();
    }
    cv_qualifiers();
    return tree_.number("{parm#", sequence_number(), "}");
}

Id Parser::simple_id() {
    Id name = source_name();
    return look() == 'I' ? with_arguments(name, false) : name;
}

Id Parser::base_unresolved_name() {
    if (look() >= '0' && look() <= '9')
        return simple_id();
    if (take("dn")) {
        Id of = look() >= '0' && look() <= '9' ? simple_id() : type();
        return tree_.sequence({tree_.text("~"), of});
    }
    take("on");
    Id name = operator_name(nullptr);
    return look() == 'I' ? with_arguments(name, false) : name;
}

Id Parser::unresolved_name(bool is_global) {
    Id so_far = NONE;
    auto within = [&](Id name) {
        so_far = so_far == NONE ? name
                                : tree_.add({.kind = Kind::SCOPED, .left = so_far, .right = name});
    };
    if (is_global)
        so_far = tree_.text("");
    if (take("srN")) {
        within(type());
        while (!take("E"))
            within(simple_id());
    } else if (take("sr")) {
        if (look() >= '0' && look() <= '9') {
            while (!take("E"))
                within(simple_id());
        } else {
            within(type());
            if (look() == 'I')
                so_far = with_arguments(so_far, false);
        }
    }
    within(base_unresolved_name());
    return so_far;
}

Id Parser::braced() {
    Deeper deeper(depth_);
    if (take("di")) {
        Id field = source_name();
        return tree_.sequence({tree_.text("."), field, tree_.text("="), braced()});
    }
    if (take("dx")) {
        Id index = expression();
        return tree_.sequence({tree_.text("["), index, tree_.text("]="), braced()});
    }
    return expression();
}

Id Parser::fold() {
    char kind = look(1);
    at_ += 2;
    const Operator *found = find_operator(look(), look(1));
    if (!found)
        fail();
    at_ += 2;
    Id first = parenthesized(expression());
    Id op = tree_.text(found->text);
    Id dots = tree_.text("...");
    Id open = tree_.text("("), close = tree_.text(")");
    switch (kind) {
    case 'l':
        return tree_.sequence({open, dots, op, first, close});
    case 'r':
        return tree_.sequence({open, first, op, dots, close});
    default:
        return tree_.sequence({open, first, op, dots, op, parenthesized(expression()), close});
    }
}

Id Parser::expression() {
    Deeper deeper(depth_);
    auto text = [&](std::string_view what) { return tree_.text(what); };
    auto list = [&](const std::vector<Id> &items) { return tree_.list(Kind::LIST, items); };
    auto call = [&](std::string_view what, Id of) {
        return tree_.sequence({text(what), of, text(")")});
    };
    bool is_global = take("gs");
    char first = look(), second = look(1);
    if (first == 'L')
        return literal();
    if (first == 'T' && (second == '_' || second == 'L' || (second >= '0' && second <= '9')))
        return template_parameter();
    if (first >= '0' && first <= '9')
        return unresolved_name(is_global);
    std::string_view code = text_.substr(std::min(at_, text_.size()), 2);
    auto is = [&](std::string_view expected) { return code == expected && take(expected); };

    if (code == "fp" || (code == "fL" && look(2) >= '0' && look(2) <= '9'))
        return function_parameter();
    if (code == "fl" || code == "fr" || code == "fL" || code == "fR")
        return fold();
    if (code == "sr" || code == "on" || code == "dn")
        return unresolved_name(is_global);
    if (is("cl")) {
        Id callee = parenthesized(expression());
        return tree_.sequence({callee, text("("), list(until_end()), text(")")});
    }
    if (is("cv")) {
        Id to = type();
        std::vector<Id> items;
        if (take("_"))
            items = until_end();
        else
            items.push_back(expression());
        return tree_.sequence({text("("), to, text(")("), list(items), text(")")});
    }
    if (code == "tl" || code == "il") {
        at_ += 2;
        Id of = code == "tl" ? type() : text("");
        std::vector<Id> items;
        while (!take("E"))
            items.push_back(braced());
        return tree_.sequence({of, text("{"), list(items), text("}")});
    }
    static constexpr struct {
        std::string_view code, name;
    } CASTS[] = {{"dc", "dynamic_cast"},
                 {"sc", "static_cast"},
                 {"cc", "const_cast"},
                 {"rc", "reinterpret_cast"}};
    for (const auto &cast : CASTS)
        if (is(cast.code)) {
            Id to = type();
            return tree_.sequence(
                {text(cast.name), text("<"), to, text(">("), expression(), text(")")});
        }
    if (is("st"))
        return call("sizeof (", type());
    if (is("sz"))
        return call("sizeof (", expression());
    if (is("at"))
        return call("alignof (", type());
    if (is("az"))
        return call("alignof (", expression());
    if (is("ti"))
        return call("typeid (", type());
    if (is("te"))
        return call("typeid (", expression());
    if (is("nx"))
        return call("noexcept(", expression());
    if (is("sZ"))
        return call("sizeof...(", look() == 'f' ? function_parameter() : template_parameter());
    if (is("sP")) {
        std::vector<Id> items;
        while (!take("E"))
            items.push_back(template_argument());
        return call("sizeof...(", list(items));
    }
    if (is("sp"))
        return tree_.add({.kind = Kind::EXPANSION, .left = expression()});
    if (is("tw"))
        return tree_.sequence({text("throw "), expression()});
    if (is("tr"))
        return text("throw");
    if (is("dt")) {
        Id object = parenthesized(expression());
        return tree_.sequence({object, text("."), unresolved_name(false)});
    }
    if (is("pt")) {
        Id object = parenthesized(expression());
        return tree_.sequence({object, text("->"), unresolved_name(false)});
    }
    if (is("ix")) {
        Id of = parenthesized(expression());
        return tree_.sequence({of, text("["), expression(), text("]")});
    }
    if (is("qu")) {
        Id condition = parenthesized(expression());
        Id yes = parenthesized(expression());
        return tree_.sequence(
            {condition, text("?"), yes, text(" : "), parenthesized(expression())});
    }
    if (is("dl") || is("da"))
        return tree_.sequence({text(code == "da" ? "delete[] " : "delete "), expression()});
    if (is("nw") || is("na")) {
        std::vector<Id> placement;
        while (!take("_"))
            placement.push_back(expression());
        Id of = type();
        if (take("E"))
            return tree_.sequence({text("new "), of});
        if (!take("pi"))
            fail();
        return tree_.sequence({text("new "), of, text("("), list(until_end()), text(")")});
    }
    if (const Operator *found = find_operator(first, second); found && found->operands > 0) {
        at_ += 2;
        if (found->operands == 1) {
            // Prefix forms of ++ and -- are marked.
            if ((code == "pp" || code == "mm") && !take("_")) {
                Id of = parenthesized(expression());
                return tree_.sequence({of, text(found->text)});
            }
            Id of = expression();
            // Of a function the name is enough.
            if (code == "ad" && tree_.nodes[of].kind == Kind::ENCODING)
                of = tree_.nodes[of].left;
            return tree_.sequence({text(found->text), parenthesized(of)});
        }
        Id left = expression();
        return operand_text(found->text, left, expression());
    }
    fail();
}

} // namespace itanium
