/* A library that is no plugin. */
int roost_test_library(void);
int roost_test_library(void) { return 1; }
