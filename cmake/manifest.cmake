# Writes a plugin's manifest from its template, with the sha256 of the library just linked.
file(SHA256 ${LIBRARY} SHA256)
configure_file(${TEMPLATE} ${OUTPUT} @ONLY)
