// Prints what it calls each function with, and what that returns, one JSON object a line, into the
// file that it is called with.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace shop {

struct Base {
    int id;
};

struct Item : Base {
    std::string name;
    bool on;
};

class Till {
    int number_ = 3;

  public:
    __attribute__((noinline)) std::string label(const Item &item, std::string text,
                                                std::string_view view, int &out);
};

std::string Till::label(const Item &item, std::string text, std::string_view view, int &out) {
    std::string result = text + item.name;
    printf(
        "{\"function\":\"label\",\"number\":%d,\"id\":%d,\"name\":\"%s\",\"on\":%s,\"text\":\"%s\","
        "\"view\":\"%.*s\",\"out\":%d,\"result\":\"%s\"}\n",
        number_, item.id, item.name.c_str(), item.on ? "true" : "false", text.c_str(),
        static_cast<int>(view.size()), view.data(), out, result.c_str());
    return result;
}

} // namespace shop

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 8;
    if (argc > 2 && !freopen(argv[2], "w", stdout))
        return 1;
    shop::Till till;
    for (int i = 0; i < rounds; i++) {
        // Short ones lie in the string itself, long ones elsewhere.
        shop::Item item{{i}, std::string(static_cast<size_t>(9 * i), 'n'), i % 2 == 0};
        int out = -i;
        till.label(item, std::string(static_cast<size_t>(i), 't'),
                   std::string_view("abcdefghij").substr(0, static_cast<size_t>(i % 10)), out);
    }
}
