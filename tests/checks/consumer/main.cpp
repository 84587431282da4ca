#include <qnt/qnt.hpp>

#include <cstdio>

int main() { std::printf("qnt %d.%d.%d\n", QNT_VERSION_MAJOR, QNT_VERSION_MINOR, QNT_VERSION_PATCH); }
