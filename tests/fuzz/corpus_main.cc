// A fuzz target without its fuzzer: runs it on each file of a list, seeds and former crashes, as an ordinary
// test of any build. Usage: TARGET_corpus LIST, the file that fuzz_seeds writes.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" [[gnu::weak]] int LLVMFuzzerInitialize(int* argc, char*** argv);

static std::vector<uint8_t> content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) std::fprintf(stderr, "%s can't be read\n", path.c_str());
  return {std::istreambuf_iterator<char>(file), {}};
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s LIST\n", argv[0]);
    return 2;
  }
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  std::ifstream list(argv[1]);
  int passed = 0, missing = 0;
  for (std::string path; std::getline(list, path, ',');) {
    std::printf("%s\n", path.c_str());  // the last one, where it ends here
    std::fflush(stdout);
    std::vector<uint8_t> input = content_of(path);
    if (input.empty()) ++missing;
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++passed;
  }
  std::printf("%d passed, %d failed\n", passed - missing, missing);
  return missing == 0 && passed > 0 ? 0 : 1;
}
